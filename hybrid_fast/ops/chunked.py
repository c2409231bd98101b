"""InfoNCE over chunks of rows: three matrix products, the gradient computed with the loss.

Of the B x N scores one chunk of rows is held at a time. `Kernels`, of which each device has its
own, turn a chunk of scores into its losses and, in place of the scores, into the gradient

    W_ij = a_i (softmax_ij - [j = c(i)])        a_i: the row's coefficient

of the logits, from which two products give the gradients: W P / t of the queries, W^T Q / t of the
passages, summed over chunks in float32. That of the temperature falls out of the same pass:
d loss / d t = -1/t sum_ij W_ij logit_ij.

`symmetric` needs the sums of whole columns before the first gradient, so the scores are computed
twice. Let u_j = log sum of exp(logit_kj) over the rows k that do not leave out column j and have
another positive. The contrast of query i's positive c is softplus(u_c - logit_ic), with the
gradient -a_i sigmoid(u_c - logit_ic) for the row itself and, for every other row k of the sum,
exp(logit_kc - u_c) beta_c, where beta_j = sum of a_i sigmoid(u_j - logit_ij) over the rows i that
have j as positive. So between ranks only vectors of N entries pass.

Chunks are visited in order and sums have a fixed order: the same bits twice.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops.distributed import SharedColumns


@dataclass(frozen=True)
class Rules:
    """Which columns rows leave out; None where a rule was not asked for.

    Ids of -1 match nothing. The row's own positive always stays.
    """

    row_groups: Tensor | None  # int64 (B,)
    column_groups: Tensor | None  # int64 (N,)
    row_ids: Tensor | None  # int64 (B,)
    column_ids: Tensor | None  # int64 (N,)
    mask: Tensor | None  # bool (B, N), True = left out
    left_out_columns: Tensor | None  # bool (N,), True = left out of every row
    margin: float | None  # of unscaled scores

    def any(self) -> bool:
        """Tell whether there is a rule."""
        return any(getattr(self, field.name) is not None for field in fields(self))

    def of_rows(self, rows: slice) -> Rules:
        """Return the rules of some rows."""
        return Rules(
            None if self.row_groups is None else self.row_groups[rows],
            self.column_groups,
            None if self.row_ids is None else self.row_ids[rows],
            self.column_ids,
            None if self.mask is None else self.mask[rows],
            self.left_out_columns,
            self.margin,
        )


@dataclass(frozen=True)
class Columns:
    """What the other direction adds to the gradient, for `symmetric`; see the module's head."""

    log_sums: Tensor  # (N,), u_j; infinity where no row is in the sum
    factors: Tensor  # (N,), beta_j


@dataclass(frozen=True)
class Chunk:
    """Rows of the problem: what `Kernels` compute on. R rows, N columns."""

    queries: Tensor  # (R, D), of `Kernels.dtype`
    positives: Tensor  # int64 (R,)
    coefficients: Tensor  # (R,), a_i, of the compute dtype
    losses: Tensor | None  # (R,), of one direction, where an earlier pass found them
    rules: Rules


class Kernels(Protocol):
    """The steps that differ between devices, for one call. Sums are of the compute dtype.

    `scale` is 1 / temperature, 0-dim of the compute dtype, on the device.
    """

    dtype: torch.dtype  # of the embeddings as the products take them

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""

    def losses(self, chunk: Chunk, scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""

    def gradients(
        self, chunk: Chunk, scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses (R,), sum_j W_ij logit_ij (R,), and W (R, N).

        With `columns` both directions count; the losses are their sums.
        """

    def add_column_sums(
        self, chunk: Chunk, scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows that do not leave a column out and have another positive to its sum.

        Args:
            chunk: the rows.
            scale: of scores.
            sums: (2, N), a logit and the sum of exponentials relative to it; begins as -infinity
                and 0.

        Returns:
            The logits of the rows' positives (R,) and, where they fall out of the same product,
            the losses of one direction (R,).
        """

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and begin again."""


@dataclass(frozen=True)
class Problem:
    """One call of the loss: what stays the same from chunk to chunk."""

    kernels: Kernels
    positives: Tensor
    rules: Rules
    symmetric: bool
    shared: SharedColumns | None  # ranks that hold other rows of the same columns

    def chunks(
        self, queries: Tensor, coefficients: Tensor, losses: Tensor | None = None
    ) -> list[tuple[slice, Chunk]]:
        """Return the rows of each chunk, and the chunk."""
        size = self.kernels.rows_per_chunk()
        slices = [slice(first, first + size) for first in range(0, len(queries), size)]
        return [
            (
                rows,
                Chunk(
                    queries[rows],
                    self.positives[rows],
                    coefficients[rows],
                    None if losses is None else losses[rows],
                    self.rules.of_rows(rows),
                ),
            )
            for rows in slices
        ]


@dataclass(frozen=True)
class Gradients:
    """Of the sum of a_i l_i."""

    queries: Tensor | None
    passages: Tensor | None
    temperature: Tensor


@dataclass(frozen=True)
class OtherDirection:
    """What a first pass over the rows finds for `symmetric`."""

    columns: Columns
    margins: Tensor  # (B,), u of each row's positive less its logit
    losses: Tensor | None  # (B,), of the rows' own direction


def other_direction(
    problem: Problem, queries: Tensor, num_columns: int, scale: Tensor, coefficients: Tensor
) -> OtherDirection:
    """Compute the sums of whole columns, of all ranks."""
    sums = scale.new_zeros(2, num_columns)
    sums[0] = float("-inf")
    logits, losses = zip(
        *[
            problem.kernels.add_column_sums(chunk, scale, sums)
            for _, chunk in problem.chunks(queries, coefficients)
        ],
        strict=True,
    )
    if problem.shared is not None:
        sums = problem.shared.combine_sums(sums)
    log_sums = sums[0] + sums[1].log()
    margins = log_sums[problem.positives] - torch.cat(logits)
    factors = torch.zeros_like(log_sums).index_put_(
        (problem.positives,), coefficients * margins.sigmoid(), accumulate=True
    )
    if problem.shared is not None:
        factors = problem.shared.add_up(factors)
    empty = torch.isneginf(log_sums)
    return OtherDirection(
        Columns(log_sums.masked_fill(empty, float("inf")), factors),
        margins,
        None if losses[0] is None else torch.cat(losses),
    )


def compute_losses(problem: Problem, queries: Tensor, num_columns: int, scale: Tensor) -> Tensor:
    """Return l_i of each row, (B,).

    Args:
        problem: what stays the same.
        queries: (B, D), of `Kernels.dtype`.
        num_columns: N.
        scale: 1 / temperature.
    """
    no_coefficients = scale.new_zeros(len(queries))
    losses = margins = None
    if problem.symmetric:
        other = other_direction(problem, queries, num_columns, scale, no_coefficients)
        losses, margins = other.losses, other.margins
    if losses is None:
        chunks = problem.chunks(queries, no_coefficients)
        losses = torch.cat([problem.kernels.losses(chunk, scale) for _, chunk in chunks])
    return losses if margins is None else (losses + F.softplus(margins)) / 2


def compute_gradients(
    problem: Problem,
    queries: Tensor,
    num_columns: int,
    scale: Tensor,
    coefficients: Tensor,
    needs: tuple[bool, bool],
    losses: Tensor | None = None,
) -> tuple[Tensor, Gradients]:
    """Return l_i of each row and the gradients of sum a_i l_i.

    Args:
        problem: what stays the same.
        queries: (B, D), of `Kernels.dtype`.
        num_columns: N.
        scale: 1 / temperature.
        coefficients: (B,), a_i.
        needs: whether queries and passages need their gradient.
        losses: (B,), l_i of one direction, if known.
    """
    kernels = problem.kernels
    columns = None
    if problem.symmetric:
        coefficients = coefficients / 2
        other = other_direction(problem, queries, num_columns, scale, coefficients)
        columns, losses = other.columns, other.losses
    losses_of_rows, dots = scale.new_empty(2, len(queries))
    of_queries = scale.new_empty(queries.shape) if needs[0] else None
    for rows, chunk in problem.chunks(queries, coefficients, losses):
        losses_of_rows[rows], dots[rows], gradient = kernels.gradients(chunk, scale, columns)
        if of_queries is not None:
            of_queries[rows] = kernels.query_gradient(gradient)
        if needs[1]:
            kernels.add_passage_gradient(gradient, chunk.queries)
        del gradient  # before the next one is made
    of_passages = kernels.passage_gradient() if needs[1] else None
    for of_embeddings in (of_queries, of_passages):
        if of_embeddings is not None:
            of_embeddings *= scale
    if problem.symmetric:
        losses_of_rows /= 2
    return losses_of_rows, Gradients(of_queries, of_passages, -dots.sum() * scale)
