"""A stand-in for torch's flash attention, which needs no GPU: a loop over texts in plain torch.

It is an operator of torch, as the real one is, so that what a compiler makes of its surroundings
can be seen too. Masks of dropout follow torch's generator.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hybrid_fast.models.kernels import flash

calls: list[dict] = []


def attend(query, key, value, begins, longest, *, scale, window, rate=0.0) -> Tensor:
    """As `compat.varlen_attention`; see `calls` for what it was given."""
    drop = torch.rand(query.shape[1], *[int(longest)] * 2) >= rate if rate else None
    outs = []
    lengths = begins.diff().tolist()
    assert begins.dtype == torch.int32
    assert max(lengths) <= longest
    for q, k, v in zip(*(x.split(lengths) for x in (query, key, value)), strict=True):
        q, k, v = (x.transpose(0, 1).float() for x in (q, k, v))
        k, v = (x.repeat_interleave(len(q) // len(x), dim=0) for x in (k, v))
        scores = (q @ k.mT * scale).masked_fill(~seen(q.shape[1], window), -torch.inf)
        weights = scores.softmax(-1)
        if drop is not None:
            weights = weights * drop[:, : q.shape[1], : q.shape[1]] / (1 - rate)
        outs.append((weights @ v).transpose(0, 1).to(query.dtype))
    return torch.cat(outs)


def seen(length: int, window: tuple[int, int]) -> Tensor:
    """Which query sees which key: so many to the left and to the right, -1 all."""
    left, right = (length if side < 0 else side for side in window)
    places = torch.arange(length)
    distance = places - places[:, None]
    return (-left <= distance) & (distance <= right)
