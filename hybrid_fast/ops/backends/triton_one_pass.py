"""The chunked loss on a GPU in one pass: exponentials are all that is written of the scores.

For bfloat16 products. A persistent kernel computes a chunk's scores and writes
E_ij = exp(logit_ij - reference_i) and the sums of its rows and, for `symmetric`, of its columns;
two products with E give the gradients:

    dQ_i = (a_i / l_i (E P)_i + rest_i p_c(i)) / t          l_i: sum of the row and its positive
    dP = (E^T (a / l Q) + rest_i q_i in column c(i)) / t    rest_i = -a_i (1 - softmax_i,c(i))

`symmetric` multiplies E_ij by a_i / l_i + beta_j / (sum of the column) instead. References come
from the lengths of vectors, so that no exponential overflows. Where a sum underflows all the same
(vectors far from unit length, a temperature of .005), the passes of `triton_tiles` compute the
chunk after all, its W in the place of E. The device decides: both ways are always launched, so that
nothing waits for it and launches depend on shapes alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hybrid_fast.ops.backends.gpu_products import (
    Scaled,
    loss_scale_of,
    num_processors,
    rows_of_chunk,
)
from hybrid_fast.ops.backends.one_pass_kernels import LARGEST_SUM, LEAST_SUM
from hybrid_fast.ops.backends.one_pass_products import FactoredWeights, OnePassProducts
from hybrid_fast.ops.backends.one_pass_tiles import Exponentials, ExponentialTiles
from hybrid_fast.ops.backends.triton_tiles import Tiles, positive_gradients
from hybrid_fast.ops.kernels import Chunk, ColumnPass, Columns

_BYTES_OF_SUMS = 0.5  # beside E, of a score: float32 and dots for 16, a part of a masked tile


class OnePassKernels(OnePassProducts):
    """Steps of the chunked loss on a GPU; see `kernels.Kernels`.

    Args:
        passages: (N, D), bfloat16.
        num_rows: B.
        max_scratch_bytes: of E, sums and masks; at least 128 rows are held.
        mask_bytes: of a pair of a chunk, in a mask that is made for the chunk.
        fewest_rows: that a chunk may have, whatever they take.
    """

    def __init__(
        self,
        passages: Tensor,
        num_rows: int,
        max_scratch_bytes: int,
        mask_bytes: int,
        fewest_rows: int,
    ) -> None:
        self._tiles = Tiles(passages, flagged=True)
        self._exponential_tiles = ExponentialTiles(self._tiles)
        super().__init__(self._tiles.passages, passages.shape[1])
        self._num_rows = num_rows
        rows = rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            passages.element_size() + _BYTES_OF_SUMS + mask_bytes,
            num_processors(passages.device),
            max_scratch_bytes,
        )
        self._rows = max(rows, fewest_rows)

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        found = self._exponential_tiles.of_rows(chunk, logit_scale, keep=False, needs_dots=False)
        return self._losses(found, None)

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor, *, keep: bool
    ) -> ColumnPass:
        """Add the rows to `sums` (2, N); E is kept where the chunk has all rows."""
        keep_all = keep and len(chunk.queries) == self._num_rows
        found = self._exponential_tiles.of_columns(chunk, logit_scale, keep=keep_all)
        assert found.column_sums is not None
        # Columns miss their sums like rows, and those without any row seem to.
        within = (found.column_sums >= LEAST_SUM.value) & (found.column_sums <= LARGEST_SUM.value)
        found.flag.logical_or_(~within.all())
        two_pass_sums = sums.clone()
        losses = self._losses(found, two_pass_sums)
        one_pass_sums = _added(sums, found.references[0], found.column_sums)
        sums.copy_(two_pass_sums.where(found.flag.bool(), one_pass_sums))
        return ColumnPass(found.rows.logits, losses, found.to_keep() if keep else None)

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None, FactoredWeights]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W."""
        factors = scale = None
        if columns is None:
            found = self._exponential_tiles.of_rows(
                chunk, logit_scale, keep=True, needs_dots=needs_dots
            )
            assert found.memory is not None
            losses, values, dots = self._losses(found, None), found.memory.matrix, found.dots
            factors, scale = found.factors, loss_scale_of(chunk.coefficients, None)
        else:
            assert chunk.losses is not None
            found, losses = chunk.kept.of_chunk(chunk), chunk.losses
            values, dots = self._exponential_tiles.weighted(
                found, losses, columns, needs_dots=needs_dots
            )
        of_positives = positive_gradients(found.rows, losses, columns)
        two_pass_dots = self._tiles.write_weights(
            Scaled(values, None),
            found.rows,
            of_positives,
            columns,
            needs_dots=needs_dots,
            flag=found.flag,
        )
        flagged = found.flag.bool()
        if dots is not None and two_pass_dots is not None:
            dots = dots if columns is None else dots + of_positives.dots
            dots = two_pass_dots.where(flagged, dots)
        weights = FactoredWeights(
            values,
            None if factors is None else factors.masked_fill(flagged, 1.0),
            of_positives.gradients.masked_fill(flagged, 0.0),  # W has them
            chunk.positives.contiguous(),
            scale,
        )
        return of_positives.losses, dots, weights

    def _losses(self, found: Exponentials, column_sums: Tensor | None) -> Tensor:
        """Return losses of queries against passages (R,); with the flag, in two passes.

        Then `column_sums` (2, N), too, have the rows added, and E is overwritten.
        """
        memory = None if found.memory is None else found.memory.sums()
        losses = self._tiles.losses(found.rows, column_sums, found.flag, memory)
        return losses.where(found.flag.bool(), found.losses)


def _added(sums: Tensor, reference: Tensor, column_sums: Tensor) -> Tensor:
    """Return sums of columns (2, N) to which those of a chunk are added, relative to a reference.

    Args:
        sums: see `Kernels.add_column_sums`.
        reference: 0-dim, logit.
        column_sums: (N,).
    """
    largest = sums[0].maximum(reference)
    added = sums[1] * (sums[0] - largest).exp() + column_sums * (reference - largest).exp()
    return torch.stack([largest, added])
