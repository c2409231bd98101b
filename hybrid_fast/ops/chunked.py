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
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops import compat
from hybrid_fast.ops.distributed import SharedColumns
from hybrid_fast.ops.kernels import Chunk, Columns, Kernels
from hybrid_fast.ops.problem import Problem, cast


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
    mask = problem.negative_mask
    if num_rows <= size:
        if mask.rules:
            mask = mask.with_rules_in_mask(problem.positive_columns(), num_columns)
        of_all, positives = kept[0] if kept else None, _positives(problem, kernels)
        yield slice(0, num_rows), Chunk(queries, positives, coefficients, losses, of_all, mask)
        return
    positives = problem.positive_columns()
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


class Gradients(NamedTuple):
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
    columns, gaps = kernels.column_terms(
        sums,
        _joined([each.logits for each in passes]),
        _positives(problem, kernels),
        coefficients,
        problem.negative_mask.in_batch,
    )
    if shared is not None:
        columns = Columns(columns.lse, shared.add_up(columns.coefficients))
    return OtherDirection(
        columns, gaps, _joined(losses) if losses else None, [each.kept for each in passes]
    )


def compute_losses(problem: Problem, kernels: Kernels) -> Tensor:
    """Return l_i of each row, (B,), of the compute dtype.

    Args:
        problem: settled, not to be normalised, its temperature a tensor of the compute dtype.
        kernels: of it.
    """
    queries, logit_scale = _queries(problem, kernels), _logit_scale(problem, kernels)
    no_coefficients = queries.new_zeros(queries.shape[0], dtype=logit_scale.dtype)
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
    if kernels.takes_constants or scale.device == queries.device:
        return scale
    return queries.new_full((), float(scale), dtype=scale.dtype)


def _positives(problem: Problem, kernels: Kernels) -> Tensor | None:
    """Return the positives of all rows as kernels take them."""
    return problem.positives if kernels.takes_constants else problem.positive_columns()


def _coefficients(coefficients: Tensor, queries: Tensor, kernels: Kernels) -> Tensor:
    """Return the coefficients of the rows as kernels take them."""
    if kernels.takes_constants or coefficients.ndim == 1:
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
