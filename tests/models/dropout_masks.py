"""Masks that the kernels draw, and torch's own dropout and attention with the same ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from hybrid_fast import _core
from hybrid_fast.cpu.arrays import array_of
from hybrid_fast.models.kernels.dropout import draw_seed


def state_mask(shape: torch.Size, rate: float, seed: int) -> Tensor:
    """What `drop` keeps, bool of a shape: ones come back where they are kept."""
    ones = torch.ones(shape)
    _core.drop(
        array_of(ones).reshape(-1), array_of(ones).reshape(-1), rate=rate, seed=seed, num_threads=1
    )
    return ones != 0


def attention_mask(shape: torch.Size, rate: float, seed: int) -> Tensor:
    """What attention keeps of probabilities (n, heads, queries, keys), bool.

    All probabilities are equal, and values are unit vectors: the output is the mask.
    """
    n, heads, num_queries, num_keys = shape
    width = max(num_keys, 1)
    out = torch.empty(n, num_queries, heads, width)
    values = torch.eye(width)[None, :, None].expand(n, width, heads, width)[:, :num_keys]
    _core.attend(
        queries=array_of(torch.zeros_like(out)),
        keys=array_of(torch.zeros(n, num_keys, heads, width)),
        values=array_of(values.contiguous()),
        seen=None,
        offsets=None,
        scale=1.0,
        causal=False,
        window=0,
        rate=rate,
        seed=seed,
        out=array_of(out),
        log_sums=array_of(torch.empty(n, heads, num_queries)),
        num_threads=1,
    )
    return out.transpose(1, 2)[..., :num_keys] != 0


def torch_dropout_with_our_masks(monkeypatch) -> None:
    """Let torch's dropout of probabilities, and of nothing else, draw the kernel's masks."""
    plain: Callable[..., Tensor] = F.dropout

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if x.ndim != 4 or not training or p == 0:
            return plain(x, p, training, inplace)
        return x * attention_mask(x.shape, p, draw_seed()) / (1 - p)

    monkeypatch.setattr(F, "dropout", dropout)
