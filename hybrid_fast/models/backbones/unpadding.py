"""Whether a transformer embeds texts that lie one after another as it embeds padded ones.

torch's usual attention needs padded texts; ours on CPUs, and torch's flash attention on GPUs, do
not. They are taken for families that are written for flash attentions, which are told of texts in
the same way, and then some tokens are embedded both ways: code of others, such as an architecture
of one's own, may count positions or mix tokens as it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hybrid_fast.cpu.ways import VARIABLE, preferred
from hybrid_fast.models.backbones.architectures import parts_of
from hybrid_fast.models.compat import (
    attention_of,
    configs_of_attention,
    is_compiled,
    supports_flash_attention,
    uses_flash_attention,
)
from hybrid_fast.models.dropout_rates import has_dropout
from hybrid_fast.models.dtypes import dtype_name
from hybrid_fast.models.encoding import evaluation_mode
from hybrid_fast.models.held_changes import HeldChange
from hybrid_fast.models.kernels import flash
from hybrid_fast.models.kernels.encoder import (
    can_replace_attention,
    fast_encoder,
    with_attention,
)
from hybrid_fast.models.transfer import to_device

logger = logging.getLogger(__name__)
_lock = RLock()
_LENGTHS = (5, 1, 9)
# Windows that take longer texts to show are not tried; texts that reach them stay padded.
_LONGEST_ON_CPU, _LONGEST = 256, 4099
# Norm of the difference of the states over that of the states. Wrong positions make it .01 to 1.
_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.03, torch.float16: 0.005}
# Rounding alone passes that in half precision where there are many layers. So there it may be this
# many times what rounding by another attention makes of padded texts.
_ROUNDINGS = 2
# The same, of a text among others; a recurrence that runs on through all texts makes it .001 to .1.
_INDEPENDENT = 1e-6
_DTYPES_ON_CPU = (torch.float32, torch.bfloat16)
# Of a parameter whose gradient a trial asks for: those of norms and biases lie in every layer.
_LARGEST = 2**16


class Trials:
    """What was tried with a backbone so far; a change of the backbone makes all be tried anew."""

    def __init__(self) -> None:
        self._model: object = None
        self._found: dict[object, bool] = {}

    def can_unpad(self, backbone: Any) -> bool:
        """Return `can_unpad` of the backbone, tried once for each use of it; see `case_of`."""
        with _lock:  # threads wait for the first one's trial
            model, use = case_of(backbone)
            if self._model != model:
                self._model, self._found = model, {}
            if use not in self._found:
                self._found[use] = can_unpad(backbone)
            return self._found[use]


def can_unpad(backbone: Any) -> bool:
    """Tell whether a backbone embeds unpadded texts as it does padded ones, here and in this mode.

    Args:
        backbone: a TransformerBackbone; torch's random state stays as it is.
    """
    transformer = backbone.model
    if uses_flash_attention(transformer):
        return False  # its texts are not padded in any case
    device, dtype = transformer.device, _dtype(transformer)
    reason = _why_not_this(transformer) or _why_not_here(device, dtype) or _why_not_seen(backbone)
    if flash.serves(device) or device.type != "cpu":
        # Evaluation between steps under autocast is in another dtype than these.
        where = f"padded on {device.type} in {dtype_name(dtype)}"
        _say(f"{where}: {reason}" if reason else f"not {where}")
    return reason is None


def case_of(backbone: Any) -> tuple[object, object]:
    """Return what `can_unpad` depends on; whatever weights have become, it stays.

    Returns:
        What the backbone is, and how it is used at the moment.
    """
    transformer = backbone.model
    modules = tuple(
        (id(each), len(each._forward_hooks), len(each._forward_pre_hooks))
        for each in transformer.modules()
    )
    longest = max(backbone.max_lengths.values())
    trains = flash.serves(transformer.device) and transformer.training
    drops = trains and has_dropout(transformer)
    use = (_dtype(transformer), trains, drops, _asks_for_torch())
    return (transformer.dtype, transformer.device, longest, modules), use


def _asks_for_torch() -> bool:
    return preferred("attention", "unpadded", ("core", "torch")) == "torch"


@cache
def _say(what: str) -> None:
    """Say once in a process what is done with texts."""
    logger.info("Texts are %s.", what)


def _dtype(transformer: Any) -> torch.dtype:
    """Return the dtype that attention gets; ours on the CPU is tried in that of the weights."""
    dtype: torch.dtype = transformer.dtype
    kind = transformer.device.type
    if not flash.serves(transformer.device) or not torch.is_autocast_enabled(kind):
        return dtype
    return torch.get_autocast_dtype(kind) if dtype != torch.float64 else dtype


def _why_not_this(transformer: Any) -> str | None:
    """Return what speaks against texts without padding of a family, if anything."""
    if _asks_for_torch():
        return f"{VARIABLE} asks for torch's attention"
    configs = configs_of_attention(transformer)
    if not configs or not any(map(supports_flash_attention, transformer.modules())):
        return f"transformers has no attention without padding for a {type(transformer).__name__}"
    others = [config for config in configs if not can_replace_attention(config)]
    return f"the attention is {attention_of(others[0])!r}, not 'sdpa'" if others else None


def _why_not_here(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return what speaks against texts without padding on a device, if anything."""
    name = dtype_name(dtype)
    if flash.serves(device):
        hint = "bf16=True trains, and dtype='bfloat16' encodes, without padding"
        return None if dtype in flash.DTYPES else f"flash attention takes no {name}; {hint}"
    if device.type == "cpu":
        return None if dtype in _DTYPES_ON_CPU else f"the kernel takes no {name}"
    return "torch has no attention without padding here (torch.nn.attention.varlen)"


def _why_not_seen(backbone: Any) -> str | None:
    """Return what speaks against texts without padding after some were embedded both ways."""
    transformer = backbone.model
    on_gpu = flash.serves(transformer.device)
    longest = max(backbone.max_lengths.values())
    lengths = _lengths(transformer.config, longest, _LONGEST if on_gpu else _LONGEST_ON_CPU)
    if lengths is None:
        return "its windows are too long to be tried"
    tokens = _tokens(backbone, sum(lengths))
    if tokens is None:
        return "it has no token but special ones"
    try:
        with _as_it_is_used(transformer):
            if not _embeds_alike(backbone, tokens, np.array(lengths)):
                return "the model embeds them otherwise without padding"
            if on_gpu and transformer.training:
                _train_once(backbone, tokens, np.minimum(_LENGTHS, longest))
    except Exception as error:  # code of others, and out of memory
        return f"without padding the model fails ({type(error).__name__}: {error})"
    return None


def _lengths(config: Any, longest: int, most: int) -> list[int] | None:
    """Return lengths of texts to try, windows that `longest` reaches too; None: above `most`."""
    names = ("sliding_window", "local_attention", "attention_chunk_size")
    windows = [getattr(part, name, None) for part in parts_of(config) for name in names]
    lengths = {each + 3 for each in windows if isinstance(each, int) and 0 < each < longest}
    if max(lengths, default=0) > most:
        return None
    return sorted({min(length, longest) for length in {*_LENGTHS, *lengths}}, key=lambda n: n % 7)


def _tokens(backbone: Any, size: int) -> np.ndarray | None:
    special = set(backbone.tokenizer.all_special_ids)
    ids = [token for token in range(min(backbone.num_embeddings, 4096)) if token not in special]
    return np.resize(np.array(ids, np.int32), size) if ids else None


@contextmanager
def _as_it_is_used(transformer: Any) -> Iterator[None]:
    """Let a trial leave no trace in random states, and compile nothing that it alone would need."""
    device = transformer.device
    generators = [device] if device.type == "cuda" else []
    exact: AbstractContextManager[Any] = torch.autocast("cpu", enabled=False)
    eager: AbstractContextManager[Any] = nullcontext()
    if any(map(is_compiled, transformer.modules())):
        eager = torch.compiler.set_stance("force_eager")
    with (
        torch.random.fork_rng(generators),
        nullcontext() if flash.serves(device) else exact,
        eager,
    ):
        yield


def _embeds_alike(backbone: Any, tokens: np.ndarray, lengths: np.ndarray) -> bool:
    # Every second text stays; states that mix with those of others may differ by very little.
    stays = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    others = np.where(stays, tokens, np.resize(tokens[::-1], len(tokens)))
    with evaluation_mode(backbone), torch.no_grad():
        padded = _states(backbone, tokens, lengths, unpadded=False)
        flat = _states(backbone, tokens, lengths)
        among_others = _states(backbone, others, lengths)
        if _differ(among_others[stays], flat[stays]) > _INDEPENDENT:
            return False
        dtype, apart = _dtype(backbone.model), _differ(flat, padded)
        return apart <= _TOLERANCES[dtype] or (
            dtype in flash.DTYPES and apart <= _ROUNDINGS * _rounding(backbone, tokens)
        )


def _rounding(backbone: Any, tokens: np.ndarray) -> float:
    """Return how far transformers' plain attention is from its "sdpa", for short padded texts."""
    lengths = np.minimum(_LENGTHS, max(backbone.max_lengths.values()))
    usual = _states(backbone, tokens, lengths, unpadded=False)
    with with_attention(backbone, "eager"):
        return _differ(_states(backbone, tokens, lengths, unpadded=False), usual)


def _train_once(backbone: Any, tokens: np.ndarray, lengths: np.ndarray) -> None:
    """Go forward and backward in the mode of training, of which a card may not have all."""
    parameters = [p for p in backbone.model.parameters() if p.requires_grad]
    small = [p for p in parameters if p.numel() <= _LARGEST] or parameters
    # A reentrant checkpoint cannot be asked for some gradients alone.
    no_checkpoints = _CHECKPOINTS.hold(backbone.model.modules(), _set_checkpoints)
    with torch.enable_grad(), no_checkpoints, _kept_buffers(backbone.model):
        states = _states(backbone, tokens, lengths)
        if states.requires_grad:
            torch.autograd.grad(states.sum(), small, allow_unused=True)


@contextmanager
def _kept_buffers(model: nn.Module) -> Iterator[None]:
    """Put back what modules such as BatchNorm count in the mode of training."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, kept in before:
            buffer.copy_(kept)


def _states(
    backbone: Any, tokens: np.ndarray, lengths: np.ndarray, *, unpadded: bool = True
) -> Tensor:
    """Return the states of all tokens of some texts, float32 (T, hidden size)."""
    offsets = np.concatenate([[0], lengths.cumsum()])
    with fast_encoder(backbone, unpadded=unpadded):
        if backbone.is_unpadded != unpadded:
            raise RuntimeError("the model does not take its attention from its configuration")
        features = backbone.features(tokens, offsets, np.arange(len(lengths)))
        inputs = to_device(features, backbone.model.device)
        return torch.cat(backbone.token_states(inputs)).float()


def _set_checkpoints(module: Any, active: bool = False) -> None:
    module.gradient_checkpointing = active


_CHECKPOINTS = HeldChange[nn.Module](
    lambda module: getattr(module, "gradient_checkpointing", False) is True,
    undo=lambda module: _set_checkpoints(module, True),
)


def _differ(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
