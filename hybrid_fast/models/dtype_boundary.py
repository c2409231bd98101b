"""Frozen weights in half precision beside trained ones in float32: who stays, and how they meet.

Layers of two dtypes do not follow one another by themselves, and autocast converts only a part of
what they exchange. So where weights stay in half precision each layer is given what it takes in the
dtype of its own weights.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hybrid_fast.common.json_files import read_json, write_json
from hybrid_fast.models.adapters.adapters import modules_of_base
from hybrid_fast.models.backbones.layers import Layers, find_layers
from hybrid_fast.models.compat import remove_hooks

HALF = (torch.float16, torch.bfloat16)
_CONVERTED = (*HALF, torch.float32)


def keep_below_adapter(model: nn.Module) -> set[int]:
    """Find the frozen weights of a transformer with an adapter, and let what is trained meet them.

    The layers of an adapter convert by themselves. A module of the transformer that has trained
    weights of its own, a copy that is trained in its place (`modules_to_save`) or a layer with a
    trained bias, computes in float32 as a whole, and returns what the others take.

    Returns:
        The ids of the weights and buffers that may stay.
    """
    trained = [
        module
        for module in modules_of_base(model)
        if any(weight.requires_grad for weight in module.parameters(recurse=False))
    ]
    widened = {id(weight) for module in trained for weight in module.parameters(recurse=False)}
    kept = [
        weight
        for weight in model.parameters()
        if not weight.requires_grad and id(weight) not in widened
    ]
    half = [weight for weight in kept if weight.dtype in HALF]
    if half:
        around = min(half, key=Tensor.numel)  # it is copied with the modules
        for module in trained:
            _convert_inputs(module)
            module.register_forward_hook(partial(_in_dtype_of, around))
    return set(map(id, (*kept, *model.buffers())))


def keep_frozen_layers(encoder: nn.Module, autocast: torch.dtype | None) -> set[int]:
    """Find the frozen weights below all trained ones, and let the layers above follow them.

    Args:
        encoder: its `backbone` may have a transformer, `model`; a `head` may follow it.
        autocast: the dtype that training computes in by autocast; weights in another one than that
            do not stay, since autocast would convert a part of what they take.

    Returns:
        The ids of the weights and buffers that may stay; none where trained weights come first, as
        where embeddings are trained.
    """
    backbone: Any = encoder.backbone
    head: Any = getattr(encoder, "head", None)
    half = [weight for weight in backbone.parameters() if weight.dtype in HALF]
    if not half or (autocast is not None and any(each.dtype != autocast for each in half)):
        return set()
    if not any(weight.requires_grad for weight in backbone.parameters()):
        if head is not None and list(head.parameters()):
            _convert_inputs(head)
        return set(map(id, (*half, *backbone.buffers())))
    model = getattr(backbone, "model", None)
    try:
        return set() if model is None else _keep_below(model, find_layers(model))
    except ValueError:  # it has no layers
        return set()


def name_widest(model: nn.Module, folder: Path) -> None:
    """Let a saved model be loaded in float32 if only a part of it is in half precision.

    transformers names the dtype of the first weight, in which it would load all of them.

    Args:
        model: the transformer.
        folder: that it has been saved in.
    """
    try:
        meeting = _meeting(model, find_layers(model))
    except ValueError:
        return
    path = folder / "config.json"
    dtypes = {next(each.parameters()).dtype for each in (model, *meeting)}
    if len(dtypes) > 1 and torch.float32 in dtypes and path.is_file():
        write_json(path, {**read_json(path, dict), "dtype": "float32"})


def _keep_below(model: nn.Module, layers: Layers) -> set[int]:
    lowest = min(layers.depth(n) for n, weight in model.named_parameters() if weight.requires_grad)
    below = [
        tensor
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if layers.depth(name) < lowest
    ]
    if any(tensor.dtype in HALF for tensor in below):
        for module in _meeting(model, layers):
            _convert_inputs(module)
    return set(map(id, below))


def _meeting(model: nn.Module, layers: Layers) -> list[nn.Module]:
    """Return the layers, and the modules with weights that follow them."""
    following = (
        module for name, module in model.named_modules() if layers.depths[name] > layers.number
    )
    modules = (*layers.modules.values(), *following)
    return [each for each in modules if any(True for _ in each.parameters())]


def forget_conversions(module: nn.Module) -> None:
    """Let modules take and return what they are given, as before any of them was converted."""
    for each in module.modules():
        remove_hooks(each, _in_own_dtype, _in_dtype_of)


def _convert_inputs(module: nn.Module) -> None:
    module.register_forward_pre_hook(_in_own_dtype, with_kwargs=True)


def _in_dtype_of(weight: Tensor, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Convert what a module returns to the dtype of a weight of other modules."""
    return _in(weight.dtype, output)


def _in_own_dtype(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Convert what a module is given, hidden states, masks and positions, to its weights' dtype."""
    dtype = next(module.parameters()).dtype
    converted = {name: _in(dtype, value) for name, value in kwargs.items()}
    return tuple(_in(dtype, value) for value in args), converted


def _in(dtype: torch.dtype, value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.dtype in _CONVERTED else value
    if type(value) in (tuple, list):
        return type(value)(_in(dtype, each) for each in value)
    return value
