"""What the models package takes from the inside of other libraries, each with a fallback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedConfig,
    PreTrainedModel,
)

# Of `kernels.unpadded`, which a model has for a while; transformers looks for "flash" in it.
OUR_FLASH_ATTENTION = "hybrid_fast_flash"


def uses_flash_attention(model: PreTrainedModel) -> bool:
    """Tell whether a model was loaded with a flash attention, which needs no padding.

    transformers 5.4 to 5.23 keep the name of the implementation in `config._attn_implementation`.
    If a version does not, texts are padded: slower, with the same embeddings.
    """
    name = getattr(model.config, "_attn_implementation", None) or ""
    return "flash" in name and name != OUR_FLASH_ATTENTION


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


_FLASH_ARGUMENTS = (
    *("query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k", "dropout_p"),
    *("is_causal", "return_debug_mask", "scale", "window_size_left", "window_size_right"),
)


def options_of(attend: Callable[..., Any] | None) -> frozenset[str]:
    """Return the names of what an attention can be told; none of None."""
    return frozenset(() if attend is None else signature(attend).parameters)


def _find_varlen() -> Callable[..., Any] | None:
    """Return torch's public attention without padding, if it has one.

    torch 2.10 brought it, 2.11 its scale and its windows, and from 2.12 on it wants to be told of
    grouped heads.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


_varlen = _find_varlen()
_VARLEN_OPTIONS = options_of(_varlen)  # read once, and not where a compiler would have to follow


def has_varlen() -> bool:
    """Tell whether this torch has `varlen_attention`, at least without dropout.

    That is torch's public function, if it is known with its scale and windows, or else the operator
    beneath. If neither is, texts are padded on GPUs.
    """
    return _is_public() or has_varlen_dropout()


def _is_public() -> bool:
    return "scale" in _VARLEN_OPTIONS and "window_size" in _VARLEN_OPTIONS


@cache
def has_varlen_dropout() -> bool:
    """Tell whether this torch has `varlen_attention` with dropout.

    torch 2.10 to 2.13 have `aten._flash_attention_forward` with these arguments first. If a version
    does not, models with dropout of the attention are trained with padding on GPUs.
    """
    try:
        schema = torch.ops.aten._flash_attention_forward.default._schema
    except AttributeError:
        return False
    names = tuple(argument.name for argument in schema.arguments)
    return names[: len(_FLASH_ARGUMENTS)] == _FLASH_ARGUMENTS


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    begins: Tensor,
    longest: int,
    *,
    scale: float,
    window: tuple[int, int],
    rate: float = 0.0,
) -> Tensor:
    """Attend within each text by torch's flash attention, where `has_varlen`.

    torch's public function drops nothing; what it calls itself does. Masks follow torch's generator
    of the device.

    Args:
        query: (T, heads, D), float16 or bfloat16 on a GPU.
        key: (T, heads or a divisor, D).
        value: likewise.
        begins: int32 (n + 1,), where each text starts and the last one ends.
        longest: no text has more tokens.
        scale: of the scores.
        window: how many keys a query sees to its left and to its right; -1: all.
        rate: of dropout; see `has_varlen_dropout`.

    Returns:
        (T, heads, D).
    """
    states, texts = (query, key, value), (begins, begins, longest, longest)
    if rate or _varlen is None or not _is_public():
        flash = torch.ops.aten._flash_attention_forward
        is_causal, (left, right) = window == (-1, 0), window
        sides = {"window_size_left": left, "window_size_right": right}
        dropped: Tensor = flash(*states, *texts, rate, is_causal, False, scale=scale, **sides)[0]
        return dropped
    is_grouped = "enable_gqa" in _VARLEN_OPTIONS and query.shape[1] != key.shape[1]
    grouped = {"enable_gqa": True} if is_grouped else {}
    out: Tensor = _varlen(*states, *texts, scale=scale, window_size=window, **grouped)
    return out
