"""Frozen layers in half precision below layers in float32: who stays, and how they meet.

Layers of two dtypes do not follow one another by themselves, and autocast converts only a part of
what they exchange. So where weights stay in half precision each layer is given what it takes in the
dtype of its own weights.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from hybrid_fast.models.json_files import read_json, write_json
from hybrid_fast.models.layers import Layers, find_layers

HALF = (torch.float16, torch.bfloat16)
_CONVERTED = (*HALF, torch.float32)
# The hooks of modules that convert what they are given, so that none has two.
_hooks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


def keep_frozen_layers(backbone: nn.Module, autocast: torch.dtype | None) -> set[int]:
    """Find the frozen weights below all trained ones, and let the layers above follow them.

    Args:
        backbone: of an encoder; its `model`, if it has one, is a transformer.
        autocast: the dtype that training computes in by autocast; weights in another one than that
            do not stay, since autocast would convert a part of what they take.

    Returns:
        The ids of the weights and buffers that may stay; none where trained weights come first, as
        where embeddings are trained.
    """
    weights = [weight for weight in backbone.parameters() if weight.dtype in HALF]
    if autocast is not None and any(weight.dtype != autocast for weight in weights):
        return set()
    if not any(weight.requires_grad for weight in backbone.parameters()):
        if weights:
            _convert(backbone.register_forward_hook, backbone, _output_in_float32)
        return set(map(id, (*weights, *backbone.buffers())))
    model = getattr(backbone, "model", None)
    try:
        layers = None if model is None else find_layers(model)
    except ValueError:
        return set()
    return set() if model is None or layers is None else _keep_below(model, layers)


def name_widest(model: nn.Module, folder: Path) -> None:
    """Let a saved model be loaded in float32 if only a part of it is in half precision.

    transformers names the dtype of the first weight, in which it would load all of them.

    Args:
        model: the transformer.
        folder: that it has been saved in.
    """
    path = folder / "config.json"
    if path.is_file() and any(module in _hooks for module in model.modules()):
        write_json(path, {**read_json(path, dict), "dtype": "float32"})


def _keep_below(model: nn.Module, layers: Layers) -> set[int]:
    lowest = min(layers.depth(n) for n, weight in model.named_parameters() if weight.requires_grad)
    below = [
        tensor
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if layers.depth(name) < lowest
    ]
    half = next((tensor.dtype for tensor in below if tensor.dtype in HALF), None)
    if half is None:
        return set()
    after = {
        name: module
        for name, module in model.named_modules()
        if layers.depths[name] > layers.number and list(module.parameters(recurse=False))
    }
    for name, module in (layers.modules | after).items():
        dtype = half if layers.depths[name] < lowest else torch.float32
        register = partial(module.register_forward_pre_hook, with_kwargs=True)
        _convert(register, module, partial(_inputs_in, dtype))
    return set(map(id, below))


def _convert(register: Any, module: nn.Module, hook: Any) -> None:
    if module in _hooks:
        _hooks.pop(module).remove()
    _hooks[module] = register(hook)


def _inputs_in(
    dtype: torch.dtype, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Convert what a module is given: hidden states, masks, positions."""
    converted = {name: _in(dtype, value) for name, value in kwargs.items()}
    return tuple(_in(dtype, value) for value in args), converted


def _output_in_float32(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return output.float()


def _in(dtype: torch.dtype, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.dtype in _CONVERTED else value
    if type(value) in (tuple, list):
        return type(value)(_in(dtype, each) for each in value)
    return value
