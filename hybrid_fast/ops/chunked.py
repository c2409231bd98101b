"""InfoNCE over chunks of rows: three matrix products, the gradient computed with the loss.

Only one chunk of rows of the B x N scores is held at a time. `Kernels`, implemented once for each
device, turn a chunk of scores into its losses and, in place of the scores, into the gradient

    W_ij = a_i (softmax_ij - [j = c(i)])        a_i: the row's coefficient

of the logits, from which two products give the gradients: W P / t of the queries, W^T Q / t of the
passages, summed over chunks in float32. That of the temperature comes from the same pass:
d loss / d t = -1/t sum_ij W_ij logit_ij.

`symmetric` needs the log-sum-exp of whole columns before the first gradient, so the scores are
computed twice. Let u_j = log sum of exp(logit_kj) over the rows k that neither exclude column j nor
have it as positive. The loss of query i's positive c against the queries is
softplus(u_c - logit_ic), with the gradient -a_i sigmoid(u_c - logit_ic) for the row itself and, for
every row k of the sum, exp(logit_kc - u_c) beta_c, where beta_j = sum of
a_i sigmoid(u_j - logit_ij) over the rows i that have j as positive. So ranks exchange only vectors
of N entries.

Deterministic: chunks are visited in order, and every sum has a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops import compat
from hybrid_fast.ops.distributed import SharedColumns
from hybrid_fast.ops.negative_mask import NegativeMask
from hybrid_fast.ops.problem import Problem, cast, number_tensor


@dataclass(frozen=True)
class Columns:
    """What `symmetric` needs of whole columns for the gradient; see the module's docstring."""

    lse: Tensor  # (N,), u_j; infinity where no row is in the sum
    coefficients: Tensor  # (N,), beta_j


@dataclass(frozen=True)
class Chunk:
    """Rows of the problem: what `Kernels` compute on. R rows, N columns."""

    queries: Tensor  # (R, D), of `Kernels.dtype`
    positives: Tensor  # int64 (R,)
    coefficients: Tensor  # (R,), a_i, of the compute dtype; 0-dim: of each row
    losses: Tensor | None  # (R,), of one direction, if an earlier pass computed them
    kept: Any  # what an earlier pass over these rows kept for this one
    negative_mask: NegativeMask


@dataclass(frozen=True)
class ColumnPass:
    """What the pass over a chunk that adds to the sums of columns computes of its rows."""

    logits: Tensor  # (R,), of the positives
    losses: Tensor | None  # (R,), of one direction, if the same product gives them
    kept: Any = None  # for the gradients of the same rows


class Kernels(Protocol):
    """The steps that differ between devices, for one call. Sums have the compute dtype.

    `logit_scale` is 1 / temperature, 0-dim of the compute dtype, on the device. Two attributes may
    be there as well: `takes_numbers`, if True, lets a `logit_scale`, or coefficients that are all
    the same, stay on the CPU, 0-dim, where Python knows them; `column_terms` is a faster
    `chunked.column_terms`.
    """

    dtype: torch.dtype  # of the embeddings in the products

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Return the losses (R,), sum_j W_ij logit_ij (R,), and W (R, N).

        W is as these kernels hold it, for their products alone. With `columns` all are those of
        both directions, added up. Without `needs_dots` nobody needs the second, which may be None.
        """

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor, *, keep: bool
    ) -> ColumnPass:
        """Add exp(logit) of the rows that neither exclude a column nor have it as positive.

        Args:
            chunk: the rows.
            logit_scale: 1 / temperature.
            sums: (2, N), of each column the largest logit and the sum of exponentials relative to
                it; initially -infinity and 0.
            keep: whether gradients of the same rows follow, for which something may be kept.
        """

    def query_gradient(self, weights: Any, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""

    def add_passage_gradient(self, weights: Any, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""

    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""


def chunks(
    problem: Problem,
    kernels: Kernels,
    queries: Tensor,
    coefficients: Tensor,
    losses: Tensor | None = None,
    kept: Sequence[Any] = (),
) -> Iterator[tuple[slice, Chunk]]:
    """Yield the chunks of a problem, each with its rows.

    Args:
        problem: settled.
        kernels: of it.
        queries: (B, D), of `Kernels.dtype`.
        coefficients: (B,) or 0-dim, a_i.
        losses: (B,), l_i of one direction, if known.
        kept: what an earlier pass kept of each chunk, if there was one.
    """
    size, num_rows = kernels.rows_per_chunk(), queries.shape[0]
    num_columns = problem.passages.shape[0]
    positives, mask = problem.positives, problem.negative_mask
    if num_rows <= size:
        mask = mask.with_rules_in_mask(positives, num_columns)
        of_all = kept[0] if kept else None
        yield slice(0, num_rows), Chunk(queries, positives, coefficients, losses, of_all, mask)
        return
    for index, first in enumerate(range(0, num_rows, size)):
        rows = slice(first, min(first + size, num_rows))
        yield (
            rows,
            Chunk(
                queries[rows],
                positives[rows],
                coefficients[rows] if coefficients.ndim else coefficients,
                None if losses is None else losses[rows],
                kept[index] if kept else None,
                mask.of_queries(rows).with_rules_in_mask(positives[rows], num_columns),
            ),
        )


@dataclass(frozen=True)
class Gradients:
    """Gradients of the sum of a_i l_i; None where not needed."""

    queries: Tensor | None
    passages: Tensor | None
    temperature: Tensor | None


@dataclass(frozen=True)
class OtherDirection:
    """What the first pass over the rows computes for `symmetric`."""

    columns: Columns
    gaps: Tensor  # (B,), u_c(i) - logit_i,c(i); -infinity where it counts for nothing
    losses: Tensor | None  # (B,), of queries against passages
    kept: list[Any]  # of each chunk


def other_direction(
    problem: Problem,
    kernels: Kernels,
    queries: Tensor,
    logit_scale: Tensor,
    coefficients: Tensor,
    *,
    keep: bool,
) -> OtherDirection:
    """Compute the log-sum-exp of whole columns, over the rows of all ranks."""
    sums = queries.new_zeros(2, len(problem.passages), dtype=logit_scale.dtype)
    sums[0].fill_(float("-inf"))
    passes = [
        kernels.add_column_sums(chunk, logit_scale, sums, keep=keep)
        for _, chunk in chunks(problem, kernels, queries, coefficients)
    ]
    losses = [each.losses for each in passes if each.losses is not None]
    shared = None
    if problem.group_name is not None:
        shared = SharedColumns(compat.process_group(problem.group_name))
        sums = shared.combine_sums(sums)
    columns, gaps = getattr(kernels, "column_terms", column_terms)(
        sums,
        _joined([each.logits for each in passes]),
        problem.positives,
        coefficients,
        problem.negative_mask.in_batch,
    )
    if shared is not None:
        columns = Columns(columns.lse, shared.add_up(columns.coefficients))
    return OtherDirection(
        columns, gaps, _joined(losses) if losses else None, [each.kept for each in passes]
    )


def column_terms(
    sums: Tensor,
    logits: Tensor,
    positives: Tensor,
    coefficients: Tensor,
    in_batch: Tensor | None,
) -> tuple[Columns, Tensor]:
    """Return what the gradient needs of whole columns, its coefficients of these rows, and gaps.

    Args:
        sums: (2, N), over all rows.
        logits: (B,), of the positives.
        positives: int64 (B,).
        coefficients: (B,), a_i.
        in_batch: bool (B,); None: True.
    """
    column_lse = sums[0] + sums[1].log()
    gaps = column_lse[positives] - logits
    if in_batch is not None:
        gaps = gaps.where(in_batch, float("-inf"))
    column_coefficients = torch.zeros_like(column_lse).index_put_(
        (positives,), coefficients * gaps.sigmoid(), accumulate=True
    )
    empty = torch.isneginf(column_lse)
    return Columns(column_lse.masked_fill(empty, float("inf")), column_coefficients), gaps


def compute_losses(problem: Problem, kernels: Kernels) -> Tensor:
    """Return l_i of each row, (B,), of the compute dtype.

    Args:
        problem: settled, not to be normalised, its temperature a tensor of the compute dtype.
        kernels: of it.
    """
    queries, logit_scale = _queries(problem, kernels), _logit_scale(problem, kernels)
    no_coefficients = _coefficients(number_tensor(0.0, queries), queries, kernels)
    losses = gaps = None
    if problem.symmetric:
        other = other_direction(problem, kernels, queries, logit_scale, no_coefficients, keep=False)
        losses, gaps = other.losses, other.gaps
    if losses is None:
        parts = chunks(problem, kernels, queries, no_coefficients)
        losses = _joined([kernels.losses(chunk, logit_scale) for _, chunk in parts])
    if gaps is None:
        return losses
    # The default threshold, 20, drops digits of float64.
    return (losses + F.softplus(gaps, threshold=40)) / 2


def compute_gradients(
    problem: Problem,
    kernels: Kernels,
    coefficients: Tensor,
    needs_grad: Sequence[bool],
    losses: Tensor | None = None,
) -> tuple[Tensor, Gradients]:
    """Return l_i of each row and the gradients of sum a_i l_i.

    Args:
        problem: settled, not to be normalised, its temperature a tensor of the compute dtype.
        kernels: of it.
        coefficients: (B,), a_i; 0-dim on the CPU: of each row.
        needs_grad: whether queries, passages and temperature need their gradient.
        losses: (B,), l_i of one direction, if known.
    """
    queries, logit_scale = _queries(problem, kernels), _logit_scale(problem, kernels)
    coefficients = _coefficients(coefficients, queries, kernels)
    columns, kept = None, []
    if problem.symmetric:
        coefficients = coefficients / 2
        other = other_direction(problem, kernels, queries, logit_scale, coefficients, keep=True)
        columns, losses, kept = other.columns, other.losses, other.kept
    row_losses = grad_dot_logits = grad_queries = None
    for rows, chunk in chunks(problem, kernels, queries, coefficients, losses, kept):
        of_rows, dots, weights = kernels.gradients(
            chunk, logit_scale, columns, needs_dots=needs_grad[2]
        )
        row_losses = _with_rows(row_losses, rows, of_rows, queries.shape[0])
        if needs_grad[2]:
            assert dots is not None
            grad_dot_logits = _with_rows(grad_dot_logits, rows, dots, queries.shape[0])
        if needs_grad[0]:
            part = kernels.query_gradient(weights, logit_scale)
            grad_queries = _with_rows(grad_queries, rows, part, queries.shape[0])
        if needs_grad[1]:
            kernels.add_passage_gradient(weights, chunk.queries)
        del weights  # before the next ones are made
    grad_passages = kernels.passage_gradient(logit_scale) if needs_grad[1] else None
    assert row_losses is not None
    if problem.symmetric:
        row_losses = row_losses / 2
    grad_temperature = None
    if grad_dot_logits is not None:
        grad_temperature = -grad_dot_logits.sum() * logit_scale
    return row_losses, Gradients(grad_queries, grad_passages, grad_temperature)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _queries(problem: Problem, kernels: Kernels) -> Tensor:
    """Return the queries (B, D) as kernels multiply them."""
    return cast(cast(problem.queries, problem.product_dtype), kernels.dtype).contiguous()


def _logit_scale(problem: Problem, kernels: Kernels) -> Tensor:
    """Return 1 / temperature, which a number is known to Python, so that no device computes it."""
    scale, queries = problem.temperature.reciprocal(), problem.queries
    if scale.device == queries.device or getattr(kernels, "takes_numbers", False):
        return scale
    return queries.new_full((), float(scale), dtype=scale.dtype)


def _coefficients(coefficients: Tensor, queries: Tensor, kernels: Kernels) -> Tensor:
    """Return the coefficients of the rows as kernels take them."""
    if coefficients.ndim == 1 or getattr(kernels, "takes_numbers", False):
        return coefficients
    shape = (queries.shape[0],)
    return queries.new_full(shape, float(coefficients), dtype=coefficients.dtype)


def _with_rows(whole: Tensor | None, rows: slice, part: Tensor, num_rows: int) -> Tensor:
    """Return `whole` (num_rows, ...), made if need be, with `part` in its rows.

    A part that has all rows is the whole: it is not copied. Others are not kept: small ones would
    lie where large ones were, which the allocator could not use again.
    """
    if part.shape[0] == num_rows:
        return part.contiguous()
    if whole is None:
        whole = part.new_empty(num_rows, *part.shape[1:])
    whole[rows] = part
    return whole
