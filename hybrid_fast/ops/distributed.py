"""Negatives from all ranks: the loss of the global batch, of which each rank computes its rows.

Passages (for `symmetric` in plain torch also queries) are gathered in rank order with a gradient:
an all-gather forward, a reduce-scatter backward. Rank r returns W times its share of the global
loss, so the mean over ranks, which DistributedDataParallel takes, is the global loss and the global
gradient, also for a learnable temperature. Local batches may differ in size.

Communication of a step, for N passages and M queries of all ranks: one small exchange of sizes and
options (agreement.py), which synchronises with the device unless the group serves the CPU; the
passages (N, D); for `symmetric` three vectors (N,) of the
columns (in plain torch the queries (M, D) and a bool (M, M)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from hybrid_fast.ops.negative_mask import NegativeMask
from hybrid_fast.ops.problem import Problem
from hybrid_fast.ops.reference import (
    excluded_columns,
    excluded_queries,
    row_coefficients,
    row_weights,
    score_matrix,
    without_autocast,
)
from hybrid_fast.ops.tensor_fields import PASSAGES, QUERIES, TensorFields

Compute = Callable[[Problem, Tensor], Tensor]
Fields = TypeVar("Fields", bound=TensorFields)


@dataclass(frozen=True)
class Ranks:
    """A process group and how many rows each of its ranks holds."""

    group: dist.ProcessGroup
    num_queries: list[int]
    num_passages: list[int]

    @property
    def first_query(self) -> int:
        """Position of this rank's first query among those of all ranks."""
        return sum(self.num_queries[: dist.get_rank(self.group)])

    @property
    def first_passage(self) -> int:
        """Position of this rank's first passage among those of all ranks."""
        return sum(self.num_passages[: dist.get_rank(self.group)])

    def gather_queries(self, rows: Tensor) -> Tensor:
        """Concatenate rows that belong to queries, in rank order."""
        return gather_rows(rows, self.num_queries, self.group)

    def gather_passages(self, fields: Fields) -> Fields:
        """Return the fields of this rank's queries and the passages of all ranks, in rank order.

        Row numbers follow: those of passages count the passages of all ranks, and those of queries
        count from this rank's first, so that they are below 0 or too large for others.
        """
        first = {QUERIES: self.first_query, PASSAGES: self.first_passage}
        gathered = {}
        for name, tensor, layout in fields.tensors():
            if layout.refers_to is not None:
                tensor = _shifted(tensor, first[layout.refers_to])
            if layout.axes[0] == PASSAGES:
                tensor = gather_rows(tensor, self.num_passages, self.group)
            if layout.refers_to == QUERIES:
                tensor = _shifted(tensor, -self.first_query)
            gathered[name] = tensor
        return replace(fields, **gathered)


def _shifted(row_numbers: Tensor, by: int) -> Tensor:
    """Return row numbers that count from elsewhere; those below 0, which are of no row, stay."""
    return row_numbers.where(row_numbers < 0, row_numbers + by)


@dataclass(frozen=True)
class SharedColumns:
    """Ranks that hold different rows of the same columns."""

    group: dist.ProcessGroup

    def combine_sums(self, sums: Tensor) -> Tensor:
        """Combine largest logits and sums of exponentials relative to them, (2, N), over ranks."""
        largest = sums[0].clone()
        dist.all_reduce(largest, dist.ReduceOp.MAX, group=self.group)
        # Both are -infinity in a column that has no row on any rank.
        scaled = (sums[0] - largest).nan_to_num_(nan=0.0).exp_() * sums[1]
        return torch.stack([largest, self.add_up(scaled)])

    def add_up(self, values: Tensor) -> Tensor:
        """Return the sum over all ranks."""
        total = values.clone()
        dist.all_reduce(total, group=self.group)
        return total


def gather_passages(problem: Problem, ranks: Ranks) -> Problem:
    """Return this rank's queries against the passages of all ranks."""
    mask = ranks.gather_passages(problem.negative_mask)
    mask = replace(mask, rules=tuple(ranks.gather_passages(rule) for rule in mask.rules))
    name = ranks.group.group_name
    problem = replace(problem, positives=problem.positive_columns())  # which count from elsewhere
    return replace(ranks.gather_passages(problem), negative_mask=mask, group_name=name)


def share_of_global_loss(
    compute: Compute, shares_columns: bool, problem: Problem, ranks: Ranks
) -> Tensor:
    """Compute this rank's share of the global loss.

    Args:
        compute: a backend.
        shares_columns: whether the backend computes both directions from the rows of this rank;
            if not, each direction is a call of its own.
        problem: of `gather_passages`.
        ranks: how many rows each rank holds.

    Returns:
        W times this rank's share of the global sum or mean, 0-dim; for reduction "none" (B,),
        w_i l_i of its own rows.
    """
    weights, ones = row_weights(problem), [1] * len(ranks.num_queries)
    total_weight = gather_rows(weights.sum().reshape(1), ones, ranks.group).sum()
    coefficients = row_coefficients(weights, total_weight, problem.reduction)
    if problem.reduction != "none":
        coefficients = coefficients * len(ones)
    if shares_columns or not problem.symmetric:
        return compute(problem, coefficients)
    problem = replace(problem, symmetric=False)
    reverse = _passage_to_query(problem, ranks)
    return (compute(problem, coefficients) + compute(reverse, coefficients)) / 2


def _passage_to_query(problem: Problem, ranks: Ranks) -> Problem:
    """Return this rank's positives against the queries of all ranks."""
    positives, in_batch = problem.positive_columns(), problem.negative_mask.in_batch
    with torch.no_grad(), without_autocast(problem.queries):
        excluded = excluded_columns(problem.negative_mask, positives, score_matrix(problem))
    # Each rank decides for its queries, since only it holds their rows of the mask.
    mask = excluded_queries(
        excluded, positives, ranks.gather_queries(positives), in_batch, ranks.first_query
    )
    rows = torch.arange(len(positives), device=positives.device) + ranks.first_query
    mask = ranks.gather_queries(mask)[:, rows].T  # (B, M)
    if in_batch is not None:
        mask = mask | ~in_batch[:, None]
    return replace(
        problem,
        queries=problem.passages[positives],
        passages=ranks.gather_queries(problem.queries),
        positives=rows,
        negative_mask=NegativeMask(mask=mask),
    )


def gather_rows(local: Tensor, sizes: list[int], group: dist.ProcessGroup) -> Tensor:
    """Concatenate the rows of all ranks in rank order; differentiable if they are floating.

    Args:
        local: (sizes[rank], ...), this rank's rows.
        sizes: number of rows of each rank.
        group: all its ranks must call this together, and back-propagate together.
    """
    if local.is_floating_point():
        return _GatherRows.apply(local, sizes, group)
    return _all_gather(local, sizes, group)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        local: Tensor,
        sizes: list[int],
        group: dist.ProcessGroup,
    ) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        return _all_gather(local, sizes, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # In float32, since half precision would lose digits of a sum over many ranks.
        sum_dtype = torch.promote_types(gradient.dtype, torch.float32)
        total = gradient.to(sum_dtype, copy=True, memory_format=torch.contiguous_format)
        return _sum_of_local_rows(total, ctx.sizes, ctx.group).to(gradient.dtype), None, None


def _sum_of_local_rows(rows: Tensor, sizes: list[int], group: dist.ProcessGroup) -> Tensor:
    """Sum `rows`, of all ranks, over ranks and return this rank's; `rows` is overwritten."""
    rank = dist.get_rank(group)
    if not _reduce_scatters(group):
        dist.all_reduce(rows, group=group)
        return rows.split(sizes)[rank]
    largest = max(sizes)
    if min(sizes) < largest:
        padded = rows.new_zeros(len(sizes), largest, *rows.shape[1:])
        for block, part in zip(padded, rows.split(sizes), strict=True):
            block[: len(part)] = part
        rows = padded.flatten(0, 1)
    local = rows.new_empty(largest, *rows.shape[1:])
    dist.reduce_scatter_tensor(local, rows, group=group)
    return local[: sizes[rank]]


def _reduce_scatters(group: dist.ProcessGroup) -> bool:
    """Tell whether a reduce-scatter of the backend is cheaper than an all-reduce.

    Gloo implements it by an all-reduce and takes 2 to 3 times as long.
    """
    return dist.get_backend(group) != "gloo"


def _all_gather(local: Tensor, sizes: list[int], group: dist.ProcessGroup) -> Tensor:
    # Padded, since collectives need equal shapes; as bytes, since not every backend supports bool.
    payload = local.to(torch.uint8) if local.dtype == torch.bool else local
    padded = payload.new_zeros((max(sizes), *local.shape[1:]))
    padded[: len(local)] = payload
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded, group=group)
    rows = [block[:size] for block, size in zip(gathered, sizes, strict=True)]
    return torch.cat(rows).to(local.dtype)
