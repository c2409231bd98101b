"""Attention on GPUs of texts that lie one after another, by torch's own flash attention.

No other package is needed. It computes in half precision alone: what is in float32, and not under
autocast, is padded and stays exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hybrid_fast.models.compat import (
    has_varlen,
    has_varlen_dropout,
    varlen_attention,
)
from hybrid_fast.models.kernels.attention import is_plain

DEVICES = ("cuda",)
DTYPES = (torch.float16, torch.bfloat16)
_WIDEST, _STEP = 256, 8  # of a head


def serves(device: torch.device) -> bool:
    """Tell whether there is such an attention on a device."""
    return device.type in DEVICES and has_varlen()


def attend_flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    options: dict[str, Any],
    *,
    offsets: Tensor,
    longest: int,
    rate: float,
    scale: float,
    causal: bool,
    window: int,
) -> Tensor:
    """Return drop(softmax(scale Q K^T)) V within each text, (1, T, heads, D).

    The same random state of the device gives the same masks. Nothing waits for the device.

    Args:
        query: (1, heads, T, D), float16 or bfloat16.
        key: (1, heads or a divisor, T, D).
        value: likewise.
        options: others of transformers.
        offsets: int32 (n + 1,), where each text starts and the last one ends.
        longest: no text has more tokens.
        rate: of dropout.
        scale: of the scores.
        causal: whether a query sees keys before it alone.
        window: a query sees keys less than this away alone; 0: any.

    Raises:
        NotImplementedError: torch's flash attention does not compute what is asked for.
    """
    if not _takes(query, key, value, options) or (rate > 0 and not _drops()):
        raise NotImplementedError(
            f"attention without padding on a GPU got {query.dtype} queries {tuple(query.shape)}, "
            f"{key.dtype} keys {tuple(key.shape)} and dropout {rate}; it takes float16 and "
            f"bfloat16, heads of at most {_WIDEST} and a multiple of {_STEP}, no softcap, sinks or "
            "bias, and dropout where torch has it; HYBRID_FAST_WAYS=attention=torch pads texts"
        )
    side = window - 1 if window else -1
    sides = (side, 0 if causal else side)
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    out = varlen_attention(q, k, v, offsets, longest, scale=scale, window=sides, rate=rate)
    return out[None]


def _takes(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> bool:
    num_texts, heads, num_tokens, dim = query.shape
    return (
        query.dtype in DTYPES
        and query.dtype == key.dtype == value.dtype
        and num_texts == 1
        and key.shape == value.shape
        and key.shape[2:] == (num_tokens, dim)
        and heads % key.shape[1] == 0
        and dim % _STEP == 0
        and dim <= _WIDEST
        and is_plain(options)
    )


def _drops() -> bool:
    # A compiler knows what `has_varlen_dropout` has told before; a trial has asked it.
    return torch.compiler.is_compiling() or has_varlen_dropout()
