"""What the models package takes from the inside of other libraries, each with a fallback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedConfig,
    PreTrainedModel,
)


def uses_flash_attention(model: PreTrainedModel) -> bool:
    """Tell whether a model was loaded with a flash attention, which needs no padding.

    transformers 5.4 to 5.23 keep the name of the implementation in `config._attn_implementation`.
    If a version does not, texts are padded: slower, with the same embeddings.
    """
    return "flash" in (getattr(model.config, "_attn_implementation", None) or "")


def register_attention(
    name: str, attend: Callable[..., Any], mask: Callable[..., Any] | None = None
) -> None:
    """Add an attention to those of transformers, with the masks of its "sdpa" or others."""
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, mask or sdpa_mask())


def sdpa_mask() -> Callable[..., Any]:
    """Return what makes the masks of transformers' "sdpa"."""
    mask: Callable[..., Any] = AttentionMaskInterface()["sdpa"]
    return mask


def supports_flash_attention(model: nn.Module) -> bool:
    """Tell whether a family is written for flash attentions, which need no padding.

    transformers 5.4 to 5.23 tell by `_supports_flash_attn`. If a version does not, texts are
    padded.
    """
    return bool(getattr(model, "_supports_flash_attn", False))


def torch_attention() -> Callable[..., Any]:
    """Return the attention of transformers that calls torch's fused one."""
    attention: Callable[..., Any] = AttentionInterface()["sdpa"]
    return attention


def configs_of_attention(model: nn.Module) -> list[PreTrainedConfig]:
    """Return the configs by which the attentions of a model can be chosen at any time.

    transformers 5.4 to 5.23 tell by `_can_set_attn_implementation` whether modules look up their
    attention at each call. If a version does not tell, there are none: dropout of the attention is
    torch's.
    """
    configs: dict[int, PreTrainedConfig] = {}
    seen: set[nn.Module] = set()
    for each in model.modules():
        kind: Any = type(each)
        if isinstance(each, PreTrainedModel) and each not in seen and _can_set_attention(kind):
            parts = list(each.modules())
            held = (vars(part).get("config") for part in parts)
            configs |= {id(own): own for own in held if isinstance(own, PreTrainedConfig)}
            seen.update(parts)
    return list(configs.values())


@cache  # transformers reads the source of the model
def _can_set_attention(kind: type[nn.Module]) -> bool:
    return bool(getattr(kind, "_can_set_attn_implementation", lambda: False)())


def attention_of(config: PreTrainedConfig) -> str | None:
    """Return the name of the attention that a config chooses; see `uses_flash_attention`."""
    return getattr(config, "_attn_implementation", None)


def set_attention(config: PreTrainedConfig, name: str) -> None:
    """Choose the attention of the modules of a config, not of configs within it."""
    config._attn_implementation = {"": name}


@contextmanager
def without_load_report() -> Iterator[None]:
    """Keep transformers from logging a table of missing and unexpected weights.

    We check them ourselves: the pooler, which no embedding depends on, would be reported at every
    load. transformers 5.4 to 5.23 log a "LOAD REPORT" in `transformers.modeling_utils`. If a
    version calls it otherwise, it is seen.
    """

    def is_other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def mark_adapted(model: Any, adapted: bool) -> None:
    """Tell a transformer whether peft's layers are in it, as its own `add_adapter` does.

    transformers 5.4 to 5.23 keep it in `_hf_peft_config_loaded`: a model that is marked saves its
    adapter alone, and one that is not saves all its weights. If a version keeps it elsewhere, our
    folders stay the same, since we write an adapter ourselves and save only models without one.
    """
    if adapted:
        model._hf_peft_config_loaded = True
    else:
        vars(model).pop("_hf_peft_config_loaded", None)  # the class says no


@contextmanager
def with_padding_attention(model: PreTrainedModel) -> Iterator[None]:
    """Replace a flash attention, which needs a GPU, by torch's own for a while."""
    if not uses_flash_attention(model):
        yield
        return
    before = model.config._attn_implementation
    model.config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        model.config._attn_implementation = before


def remove_hooks(module: nn.Module, *functions: Callable[..., Any]) -> None:
    """Take hooks of a forward pass from a module, however often it has been copied.

    Handles that torch returns know the module alone that they were made for. torch 2.4 to 2.13 keep
    the hooks in two dictionaries; if a version does not, they stay.
    """
    for name in ("_forward_pre_hooks", "_forward_hooks"):
        hooks = getattr(module, name, {})
        for key, hook in list(hooks.items()):
            if getattr(hook, "func", hook) in functions:
                del hooks[key]


def is_compiled(module: nn.Module) -> bool:
    """Tell whether a module was compiled in place, by `module.compile()`.

    torch 2.4 to 2.13 keep the compiled call in `_compiled_call_impl`. If a version does not, its
    code is compiled once more with the kernels of `fast_encoder`, which then leave all to torch.
    """
    return vars(module).get("_compiled_call_impl") is not None
