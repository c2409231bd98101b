"""From the token states of a transformer to one vector a text, whichever side is padded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def mean_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the real tokens, summed in at least float32.

    Args:
        states: (n, length, D), a floating dtype; padded positions may hold anything, NaN included.
        mask: (n, length), 1 at real tokens and 0 at padding, at least one token a row.

    Returns:
        (n, D) in the dtype of `states`.
    """
    total = states.masked_fill(mask.unsqueeze(-1) == 0, 0).sum(
        dim=1, dtype=torch.promote_types(states.dtype, torch.float32)
    )
    return (total / mask.sum(dim=1, keepdim=True)).to(states.dtype)


def cls_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Return the first real token; shapes as in `mean_pooling`."""
    return states[torch.arange(len(states), device=states.device), mask.int().argmax(dim=1)]


def last_pooling(states: Tensor, mask: Tensor) -> Tensor:
    """Return the last real token; shapes as in `mean_pooling`."""
    last = mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), last]


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean_pooling,
    "cls": cls_pooling,
    "last": last_pooling,
}
