"""An encoder that computes as fast as its device can, for a while.

On the CPU that is by the kernels of this library, on GPUs by those of torch that fit texts best.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, activations

from hybrid_fast.models.compat import (
    attention_of,
    configs_of_attention,
    is_compiled,
    set_attention,
)
from hybrid_fast.models.held_changes import HeldChange
from hybrid_fast.models.kernels import attention, flash
from hybrid_fast.models.kernels import unpadded as unpadded_attention
from hybrid_fast.models.kernels.dropout import Dropout
from hybrid_fast.models.kernels.gelu import GELU, GELUActivation, is_exact
from hybrid_fast.models.kernels.linear import Linear, forget_converted

_KERNELS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: Dropout,
    nn.Linear: Linear,
    nn.GELU: GELU,
    activations.GELUActivation: GELUActivation,
}
_PLAIN = {kernel: kind for kind, kernel in _KERNELS.items()}
# Ours too: those of a model that was copied or pickled while it computed by our kernels.
_ATTENTIONS = ("sdpa", attention.NAME, unpadded_attention.NAME)

_without_padding: ContextVar[tuple[PreTrainedConfig, ...]] = ContextVar("configs", default=())


@contextmanager
def fast_encoder(model: nn.Module, *, unpadded: bool = False) -> Iterator[None]:
    """Let a model compute as fast as its device can within; afterwards it is as it was.

    On the CPU each `torch.nn.Linear`, `torch.nn.Dropout` and exact GELU is one of ours meanwhile,
    with its weights, mode and hooks, and the attention "sdpa" of transformers is
    `attention.attend`. What they compute stays, up to rounding and the masks of dropout. Derived
    classes, other attentions and modules that drop or multiply by themselves, such as DeBERTa's
    dropout, keep their ways, and so does a model of which anything is compiled. On a GPU all
    modules are torch's; it has no attention of cuDNN, see `_CUDNN`. Several threads may be within
    with one model.

    Args:
        model: an encoder or a part of one.
        unpadded: whether the attention "sdpa" is that of texts without padding, see
            `unpadded.attend_unpadded`, for a model of which `can_unpad` is true. If another thread
            is within that pads, texts are padded here too. On a GPU layers may be compiled.
    """
    with ExitStack() as held:
        for change in _changes(model, unpadded):
            held.enter_context(change)
        yield


def _changes(model: nn.Module, unpadded: bool) -> Iterator[AbstractContextManager[None]]:
    modules = list(model.modules())
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if device.type in flash.DEVICES:
        yield _CUDNN.hold([torch.backends.cuda], lambda backend: backend.enable_cudnn_sdp(False))
        if unpadded and not _is_compiled_whole(modules):
            yield with_attention(model, unpadded_attention.NAME)
    elif device.type == "cpu" and not any(map(is_compiled, modules)):
        # The modules stay, since others may hold them and what was compiled looks for them.
        yield _CLASSES.hold(modules, lambda module: _set_class(module, _KERNELS))
        yield with_attention(model, unpadded_attention.NAME if unpadded else attention.NAME)


@contextmanager
def with_attention(model: nn.Module, name: str) -> Iterator[None]:
    """Let a model have another attention than "sdpa" within; held already, it keeps what it has.

    Args:
        model: an encoder or a part of one.
        name: by which transformers knows the attention.
    """
    configs = configs_of_attention(model)
    unpadded = configs if name == unpadded_attention.NAME else ()
    token = _without_padding.set((*_without_padding.get(), *unpadded))
    try:
        with _CHOICES.hold(configs, lambda config: set_attention(config, name)):
            yield
    finally:
        _without_padding.reset(token)


def _is_compiled_whole(modules: list[nn.Module]) -> bool:
    """Tell whether a transformer is in something compiled; its layers by themselves may be."""
    return any(
        isinstance(part, PreTrainedModel)
        for module in modules
        if is_compiled(module)
        for part in module.modules()
    )


def is_unpadded(config: PreTrainedConfig) -> bool:
    """Tell whether this thread is within `fast_encoder` where a config is that of unpadded texts.

    Another thread that makes features meanwhile, and has them embedded later, has to pad.
    """
    return attention_of(config) == unpadded_attention.NAME and any(
        each is config for each in _without_padding.get()
    )


def can_replace_attention(config: PreTrainedConfig) -> bool:
    """Tell whether `fast_encoder` replaces the attention that a config chooses."""
    return attention_of(config) in _ATTENTIONS


def _is_replaced(module: nn.Module) -> bool:
    return (
        (type(module) in _KERNELS or type(module) in _PLAIN)
        and not getattr(module, "inplace", False)
        and is_exact(module)
    )


def _set_class(module: nn.Module, kinds: dict[type[nn.Module], type[nn.Module]]) -> None:
    kind = kinds.get(type(module), type(module))
    object.__setattr__(module, "__class__", kind)  # that of modules first looks for parameters


def _put_back(module: nn.Module) -> None:
    _set_class(module, _PLAIN)
    forget_converted(module)


_CLASSES = HeldChange[nn.Module](_is_replaced, undo=_put_back)
_CHOICES = HeldChange[PreTrainedConfig](
    can_replace_attention, undo=lambda config: set_attention(config, "sdpa")
)
# cuDNN makes a plan for each new shape of padded texts, forward and backward, which can take half a
# second each, and texts have ever new shapes. torch's switch is one of the whole process.
_CUDNN = HeldChange[ModuleType](
    lambda backend: backend.cudnn_sdp_enabled(), undo=lambda backend: backend.enable_cudnn_sdp(True)
)
