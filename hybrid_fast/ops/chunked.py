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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops.inputs import InfoNCEInputs


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

    queries: Tensor  # (R, D)
    positives: Tensor  # int64 (R,)
    coefficients: Tensor  # (R,), a_i, of the compute dtype
    rules: Rules


class Kernels(Protocol):
    """The steps that differ between devices, for one call. Sums are of the compute dtype.

    `scale` is 1 / temperature, 0-dim of the compute dtype, on the device.
    """

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

    def add_column_sums(self, chunk: Chunk, scale: Tensor, sums: Tensor) -> Tensor:
        """Add the rows that do not leave a column out and have another positive to its sum.

        Args:
            chunk: the rows.
            scale: of scores.
            sums: (2, N), the largest logit so far and the sum of exponentials relative to it;
                begins as -infinity and 0.

        Returns:
            The logits of the rows' positives (R,).
        """

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and begin again."""


class SharedColumns(Protocol):
    """Ranks that hold other rows of the same columns."""

    def combine_sums(self, sums: Tensor) -> Tensor:
        """Return `sums` of `Kernels.add_column_sums` (2, N) over the rows of all ranks."""

    def add_up(self, values: Tensor) -> Tensor:
        """Return the sum over ranks."""


@dataclass(frozen=True)
class Problem:
    """One call of the loss: what stays the same from chunk to chunk."""

    kernels: Kernels
    positives: Tensor
    rules: Rules
    symmetric: bool
    per_row: bool  # reduction "none"
    recompute: bool  # the gradient only when asked for
    columns: SharedColumns | None

    def chunks(self, queries: Tensor, coefficients: Tensor) -> list[tuple[slice, Chunk]]:
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


def info_nce_chunked(
    inputs: InfoNCEInputs,
    coefficients: Tensor,
    make_kernels: Callable[[Tensor], Kernels],
    columns: SharedColumns | None = None,
) -> Tensor:
    """Compute coefficient_i * l_i for each row, or their sum; see `info_nce_reference`.

    Args:
        inputs: checked.
        coefficients: (B,), from `row_coefficients`.
        make_kernels: makes the kernels of one call from the passages (N, D) of the compute dtype.
        columns: for `symmetric`, the ranks whose rows share the columns.
    """
    dtype = inputs.compute_dtype
    # Autocast would compute the scores in half precision.
    with torch.autocast(inputs.queries.device.type, enabled=False):
        queries, passages = inputs.queries.to(dtype), inputs.passages.to(dtype)
        if inputs.normalize:
            queries, passages = F.normalize(queries, dim=1), F.normalize(passages, dim=1)
        temperature = inputs.temperature
        if not isinstance(temperature, Tensor):
            temperature = queries.new_full((), temperature)
        problem = Problem(
            kernels=make_kernels(passages.detach().contiguous()),
            positives=inputs.positives,
            rules=rules_of(inputs),
            symmetric=inputs.symmetric,
            per_row=inputs.reduction == "none",
            recompute=inputs.recompute,
            columns=columns,
        )
        return Contrast.apply(
            queries.contiguous(), passages, temperature.to(dtype), coefficients, problem
        )


def rules_of(inputs: InfoNCEInputs) -> Rules:
    """Return the rules of checked inputs."""
    row_ids = inputs.query_passage_ids
    if inputs.passage_ids is not None and row_ids is None:
        row_ids = inputs.passage_ids[inputs.positives]
    left_out = None
    if inputs.negatives == "hard_only":
        left_out = torch.zeros(len(inputs.passages), dtype=torch.bool, device=inputs.queries.device)
        left_out.index_fill_(0, inputs.all_positives, True)
    return Rules(
        inputs.query_groups, inputs.passage_groups, row_ids, inputs.passage_ids,
        inputs.mask, left_out, inputs.margin,
    )  # fmt: skip


def column_terms(
    problem: Problem, queries: Tensor, num_columns: int, scale: Tensor, coefficients: Tensor
) -> tuple[Columns, Tensor]:
    """Return what the columns add to the gradient, and u of each row's positive less its logit."""
    sums = scale.new_zeros(2, num_columns)
    sums[0] = float("-inf")
    logits = torch.cat(
        [
            problem.kernels.add_column_sums(chunk, scale, sums)
            for _, chunk in problem.chunks(queries, coefficients)
        ]
    )
    if problem.columns is not None:
        sums = problem.columns.combine_sums(sums)
    log_sums = sums[0] + sums[1].log()
    margins = log_sums[problem.positives] - logits
    factors = torch.zeros_like(log_sums).index_put_(
        (problem.positives,), coefficients * margins.sigmoid(), accumulate=True
    )
    if problem.columns is not None:
        factors = problem.columns.add_up(factors)
    empty = torch.isneginf(log_sums)
    return Columns(log_sums.masked_fill(empty, float("inf")), factors), margins


def compute_losses(
    problem: Problem, queries: Tensor, num_columns: int, scale: Tensor, coefficients: Tensor
) -> Tensor:
    """Return l_i of each row, (B,)."""
    losses = torch.cat(
        [problem.kernels.losses(chunk, scale) for _, chunk in problem.chunks(queries, coefficients)]
    )
    if not problem.symmetric:
        return losses
    _, margins = column_terms(problem, queries, num_columns, scale, coefficients)
    return (losses + F.softplus(margins)) / 2


def compute_gradients(
    problem: Problem,
    queries: Tensor,
    passages: Tensor,
    scale: Tensor,
    coefficients: Tensor,
    needs: tuple[bool, bool],
) -> tuple[Tensor, Gradients]:
    """Return l_i of each row and the gradients of sum a_i l_i.

    Args:
        problem: what stays the same.
        queries: (B, D).
        passages: (N, D).
        scale: 1 / temperature.
        coefficients: (B,), a_i.
        needs: whether queries and passages need their gradient.
    """
    kernels, dtype = problem.kernels, scale.dtype
    columns = None
    if problem.symmetric:
        coefficients = coefficients / 2
        columns, _ = column_terms(problem, queries, len(passages), scale, coefficients)
    losses, dots = scale.new_empty(len(queries)), scale.new_empty(len(queries))
    of_queries = torch.empty_like(queries, dtype=dtype) if needs[0] else None
    of_passages = None
    for rows, chunk in problem.chunks(queries, coefficients):
        losses[rows], dots[rows], gradient = kernels.gradients(chunk, scale, columns)
        if of_queries is not None:
            of_queries[rows] = kernels.query_gradient(gradient)
        if needs[1]:
            kernels.add_passage_gradient(gradient, chunk.queries)
        del gradient  # before the next one is made
    if needs[1]:
        of_passages = kernels.passage_gradient()
    for of_embeddings in (of_queries, of_passages):
        if of_embeddings is not None:
            of_embeddings *= scale
    if problem.symmetric:
        losses /= 2
    return losses, Gradients(of_queries, of_passages, -dots.sum() * scale)


class Contrast(torch.autograd.Function):
    """sum_i a_i l_i, or a_i l_i of each row, with the gradient computed in the forward pass.

    Where the gradient cannot be known yet (`per_row`) or is not wanted yet (`recompute`), the
    forward pass computes the losses alone and the backward pass everything.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        passages: Tensor,
        temperature: Tensor,
        coefficients: Tensor,
        problem: Problem,
    ) -> Tensor:
        """Return 0-dim or (B,), of the compute dtype."""
        scale = 1 / temperature
        ctx.problem = problem
        needs = ctx.needs_input_grad[:3]
        if any(needs) and not (problem.per_row or problem.recompute):
            losses, gradients = compute_gradients(
                problem, queries, passages, scale, coefficients, needs[:2]
            )
            ctx.save_for_backward(
                losses, gradients.queries, gradients.passages, gradients.temperature
            )
            ctx.computed = True
        else:
            losses = compute_losses(problem, queries, len(passages), scale, coefficients)
            ctx.save_for_backward(losses, queries, passages, scale, coefficients)
            ctx.computed = False
        weighted = coefficients * losses
        return weighted if problem.per_row else weighted.sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries, passages, temperature and coefficients.

        Raises:
            RuntimeError: if a graph of the gradient is asked for: it would be silently cut.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True needs a second derivative, which this backend of info_nce does "
                "not have; use backend='reference'"
            )
        needs = ctx.needs_input_grad
        if ctx.computed:
            losses, *of_inputs = ctx.saved_tensors
            # Out of place: a second pass over a retained graph finds what the first one found.
            of_inputs = [g if g is None else g * upstream for g in of_inputs]
        else:
            losses, queries, passages, scale, coefficients = ctx.saved_tensors
            of_inputs = [None, None, None]
            if any(needs[:3]):
                with torch.autocast(queries.device.type, enabled=False):
                    _, gradients = compute_gradients(
                        ctx.problem, queries, passages, scale, coefficients * upstream, needs[:2]
                    )
                of_inputs = [gradients.queries, gradients.passages, gradients.temperature]
        of_coefficients = losses * upstream if needs[3] else None
        return *of_inputs[:2], of_inputs[2] if needs[2] else None, of_coefficients, None
