"""An encoder that computes on the CPU by the kernels of this library, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from hybrid_fast.models.compat import (
    attention_of,
    configs_of_attention,
    is_compiled,
    set_attention,
)
from hybrid_fast.models.kernels import attention
from hybrid_fast.models.kernels import unpadded as unpadded_attention
from hybrid_fast.models.kernels.dropout import Dropout
from hybrid_fast.models.kernels.linear import Linear

_KERNELS: dict[type[nn.Module], type[nn.Module]] = {nn.Dropout: Dropout, nn.Linear: Linear}


@contextmanager
def fast_encoder(model: nn.Module, *, unpadded: bool = False) -> Iterator[None]:
    """Let a model compute as fast as this processor can within; afterwards it is as it was.

    Each `torch.nn.Linear` and `torch.nn.Dropout` is one of ours meanwhile, with its weights, mode
    and hooks, and the attention "sdpa" of transformers is `attention.attend`. What they compute
    stays, up to rounding and the masks of dropout. Derived classes, other attentions and modules
    that drop or multiply by themselves, such as DeBERTa's dropout, keep their ways, and so does a
    whole model that is compiled.

    Args:
        model: an encoder or a part of one.
        unpadded: whether the attention "sdpa" is that of texts without padding, see
            `unpadded.attend_unpadded`, for a model of which `can_unpad` is true.
    """
    modules = list(model.modules())
    if any(map(is_compiled, modules)):
        yield
        return
    replaced = [(each, type(each)) for each in modules if _is_replaced(each)]
    configs = [config for config in configs_of_attention(model) if attention_of(config) == "sdpa"]
    try:
        # The modules stay, since others may hold them and what was compiled looks for them.
        for module, kind in replaced:
            _set_class(module, _KERNELS[kind])
        for config in configs:
            set_attention(config, unpadded_attention.NAME if unpadded else attention.NAME)
        yield
    finally:
        for module, kind in replaced:
            _set_class(module, kind)
        for config in configs:
            set_attention(config, "sdpa")


def _is_replaced(module: nn.Module) -> bool:
    return type(module) in _KERNELS and not getattr(module, "inplace", False)


def _set_class(module: nn.Module, kind: type[nn.Module]) -> None:
    object.__setattr__(module, "__class__", kind)  # that of modules first looks for parameters
