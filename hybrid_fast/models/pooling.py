"""From the token states of a transformer to one embedding per text, whichever side is padded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def mean_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over all tokens but padding, summed in at least float32.

    Args:
        states: (n, length, D), a floating dtype; padded positions may hold anything, NaN included.
        mask: (n, length), 1 at tokens and 0 at padding, with at least one token in each row; None
            means no padding.

    Returns:
        (n, D) in the dtype of `states`.
    """
    if mask is None:
        dtype = torch.promote_types(states.dtype, torch.float32)
        return states.mean(dim=1, dtype=dtype).to(states.dtype)
    total = states.masked_fill(mask.unsqueeze(-1) == 0, 0).sum(
        dim=1, dtype=torch.promote_types(states.dtype, torch.float32)
    )
    return (total / mask.sum(dim=1, keepdim=True)).to(states.dtype)


def cls_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the state of the first token; shapes as in `mean_pooling`."""
    if mask is None:
        return states[:, 0]
    return states[torch.arange(len(states), device=states.device), mask.int().argmax(dim=1)]


def last_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the state of the last token; shapes as in `mean_pooling`."""
    if mask is None:
        return states[:, -1]
    last = mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), last]


POOLINGS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "mean": mean_pooling,
    "cls": cls_pooling,
    "last": last_pooling,
}


def flat_mean_pooling(states: Tensor, offsets: Tensor) -> Tensor:
    """Return the mean over the tokens of each text, summed in at least float32.

    Args:
        states: (T, D), a floating dtype, the tokens of all texts, concatenated.
        offsets: (n + 1,), where each text starts and the last one ends; none is empty.

    Returns:
        (n, D) in the dtype of `states`.
    """
    lengths = offsets.diff().long()
    dtype = torch.promote_types(states.dtype, torch.float32)
    sums = torch.segment_reduce(states.to(dtype), "sum", lengths=lengths, axis=0)
    return (sums / lengths[:, None]).to(states.dtype)


def flat_cls_pooling(states: Tensor, offsets: Tensor) -> Tensor:
    """Return the state of the first token of each text; shapes as in `flat_mean_pooling`."""
    return states[offsets[:-1].long()]


def flat_last_pooling(states: Tensor, offsets: Tensor) -> Tensor:
    """Return the state of the last token of each text; shapes as in `flat_mean_pooling`."""
    return states[offsets[1:].long() - 1]


FLAT_POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": flat_mean_pooling,
    "cls": flat_cls_pooling,
    "last": flat_last_pooling,
}
