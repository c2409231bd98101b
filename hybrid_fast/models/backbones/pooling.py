"""From the token states of a transformer to one embedding per text, whichever side is padded.

Several poolings may be concatenated; such a pooling is named by their names, joined by "+". Tokens
at the head of a text, those of a prompt, may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hybrid_fast.common.choices import check_choice


def check_pooling(value: str | Sequence[str]) -> str:
    """Return a pooling by its name.

    Args:
        value: a name of `POOLINGS`, or several in a list or joined by "+".

    Raises:
        ValueError: an unknown name, or none at all.
    """
    names = value.split("+") if isinstance(value, str) else list(value)
    if not names:
        raise ValueError(f"pooling is {value!r}; one or more of {', '.join(POOLINGS)} are needed")
    return "+".join(check_choice("pooling", name, POOLINGS) for name in names)


def pool(pooling: str, states: Tensor, mask: Tensor | None, skip: Tensor | None = None) -> Tensor:
    """Return the embedding of each text.

    Args:
        pooling: as `check_pooling` returns it.
        states: (n, length, D), a floating dtype; padded positions may hold anything, NaN included.
        mask: (n, length), 1 at tokens and 0 at padding, with at least one token in each row; None
            means no padding.
        skip: int (n,), how many tokens at the head of each text are left out, fewer than it has;
            None means none.

    Returns:
        (n, D times the number of poolings) in the dtype of `states`.
    """
    positions = None
    if skip is not None:
        ones = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
        mask = ones if mask is None else mask
        positions = mask.cumsum(1)
        mask = mask * (positions > skip[:, None])
    pooled = [
        weighted_mean_pooling(states, mask, positions)
        if name == "weightedmean"
        else POOLINGS[name](states, mask)
        for name in pooling.split("+")
    ]
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)


def mean_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over all tokens of `mask`, (n, D), summed in at least float32."""
    if mask is None:
        return states.mean(dim=1, dtype=_sum_dtype(states)).to(states.dtype)
    return (_sum(states, mask) / mask.sum(dim=1, keepdim=True)).to(states.dtype)


def sqrt_mean_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the sum over all tokens of `mask`, divided by the root of their number, (n, D)."""
    if mask is None:
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
    return (_sum(states, mask) / mask.sum(dim=1, keepdim=True).sqrt()).to(states.dtype)


def weighted_mean_pooling(
    states: Tensor, mask: Tensor | None, positions: Tensor | None = None
) -> Tensor:
    """Return the mean weighted by the position of each token in its text, from 1, (n, D).

    Args:
        states: (n, length, D).
        mask: (n, length), as in `pool`.
        positions: (n, length), if `mask` leaves out tokens that count as positions.
    """
    if mask is None:
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
    weights = mask * (mask.cumsum(1) if positions is None else positions)
    weighted = states.to(_sum_dtype(states)) * weights.unsqueeze(-1)
    return (_sum(weighted, mask) / weights.sum(dim=1, keepdim=True)).to(states.dtype)


def max_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the largest value of each dimension over the tokens of `mask`, (n, D)."""
    if mask is not None:
        states = states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf"))
    return states.amax(dim=1)


def cls_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the state of the first token of `mask`, (n, D)."""
    if mask is None:
        return states[:, 0]
    return states[torch.arange(len(states), device=states.device), mask.int().argmax(dim=1)]


def last_pooling(states: Tensor, mask: Tensor | None) -> Tensor:
    """Return the state of the last token of `mask`, (n, D)."""
    if mask is None:
        return states[:, -1]
    last = mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)
    return states[torch.arange(len(states), device=states.device), last]


POOLINGS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "mean": mean_pooling,
    "cls": cls_pooling,
    "last": last_pooling,
    "max": max_pooling,
    "mean_sqrt_len_tokens": sqrt_mean_pooling,
    "weightedmean": weighted_mean_pooling,
}


def _sum_dtype(states: Tensor) -> torch.dtype:
    return torch.promote_types(states.dtype, torch.float32)


def _sum(states: Tensor, mask: Tensor) -> Tensor:
    masked = states.masked_fill(mask.unsqueeze(-1) == 0, 0)
    return masked.sum(dim=1, dtype=_sum_dtype(states))


def pool_flat(pooling: str, states: Tensor, offsets: Tensor, skip: Tensor | None = None) -> Tensor:
    """Return the embedding of each text, as `pool` does, of texts that are not padded.

    Args:
        pooling: as `check_pooling` returns it.
        states: (T, D), a floating dtype, the tokens of all texts, concatenated.
        offsets: (n + 1,), where each text starts and the last one ends; none is empty.
        skip: int (n,), as in `pool`.

    Returns:
        (n, D times the number of poolings) in the dtype of `states`.
    """
    pooled = [FLAT_POOLINGS[name](states, offsets, skip) for name in pooling.split("+")]
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)


def _flat_mean(states: Tensor, offsets: Tensor, skip: Tensor | None) -> Tensor:
    return _flat_sum(states, offsets, skip, _num_pooled(offsets, skip))


def _flat_sqrt_mean(states: Tensor, offsets: Tensor, skip: Tensor | None) -> Tensor:
    return _flat_sum(states, offsets, skip, _num_pooled(offsets, skip).sqrt())


def _flat_sum(states: Tensor, offsets: Tensor, skip: Tensor | None, divisor: Tensor) -> Tensor:
    if skip is not None:
        states = states.masked_fill(~_is_pooled(states, offsets, skip)[:, None], 0)
    return (_reduce("sum", states, offsets) / divisor[:, None]).to(states.dtype)


def _flat_weighted_mean(states: Tensor, offsets: Tensor, skip: Tensor | None) -> Tensor:
    weights = _flat_positions(states, offsets).to(_sum_dtype(states))[:, None]
    if skip is not None:
        weights = weights * _is_pooled(states, offsets, skip)[:, None]
    total = _reduce("sum", weights, offsets)
    return (_reduce("sum", states * weights, offsets) / total).to(states.dtype)


def _flat_max(states: Tensor, offsets: Tensor, skip: Tensor | None) -> Tensor:
    if skip is not None:
        states = states.masked_fill(~_is_pooled(states, offsets, skip)[:, None], float("-inf"))
    return _reduce("max", states, offsets).to(states.dtype)


def _flat_cls(states: Tensor, offsets: Tensor, skip: Tensor | None) -> Tensor:
    first = offsets[:-1] if skip is None else offsets[:-1] + skip
    return states[first.long()]


def _flat_last(states: Tensor, offsets: Tensor, skip: Tensor | None) -> Tensor:
    return states[offsets[1:].long() - 1]


FLAT_POOLINGS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "mean": _flat_mean,
    "cls": _flat_cls,
    "last": _flat_last,
    "max": _flat_max,
    "mean_sqrt_len_tokens": _flat_sqrt_mean,
    "weightedmean": _flat_weighted_mean,
}


def _reduce(how: str, states: Tensor, offsets: Tensor) -> Tensor:
    lengths = offsets.diff().long()
    # "unsafe": a GPU would be waited for to see that the lengths are those of the states.
    return torch.segment_reduce(
        states.to(_sum_dtype(states)), how, lengths=lengths, axis=0, unsafe=True
    )


def _num_pooled(offsets: Tensor, skip: Tensor | None) -> Tensor:
    lengths = offsets.diff().long()
    return lengths if skip is None else lengths - skip


def _is_pooled(states: Tensor, offsets: Tensor, skip: Tensor) -> Tensor:
    return _flat_positions(states, offsets) > _of_tokens(skip, states, offsets)


def _flat_positions(states: Tensor, offsets: Tensor) -> Tensor:
    """Return the position of each token in its text, from 1, int (T,)."""
    tokens = torch.arange(1, len(states) + 1, device=states.device)
    return tokens - _of_tokens(offsets[:-1], states, offsets)


def _of_tokens(of_texts: Tensor, states: Tensor, offsets: Tensor) -> Tensor:
    # With the size of the output the GPU need not be waited for.
    return of_texts.repeat_interleave(offsets.diff().long(), output_size=len(states))
