"""The chunked loss on a GPU where scores are needed twice: in tiles that never leave the chip.

For half-precision embeddings with `symmetric`, `reduction="none"` and `recompute`. Only W and the
sums of tiles grow with the number of scores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.backends.gpu_products import (
    GradientProducts,
    Scaled,
    num_processors,
    rows_of_chunk,
)
from hybrid_fast.ops.backends.triton_tiles import Tiles, pad, positive_gradients
from hybrid_fast.ops.kernels import Chunk, ColumnPass, Columns

_BYTES_OF_SUMS = 0.25  # beside W, of a score: float32 for 16, a part of a masked tile


class TwoPassKernels(GradientProducts):
    """Steps of the chunked loss on a GPU; see `kernels.Kernels`.

    Args:
        passages: (N, D), bfloat16 or float16.
        max_scratch_bytes: of W, sums and masks; at least 128 rows are held.
        mask_bytes: of a pair of a chunk, in a mask that is made for the chunk.
    """

    def __init__(self, passages: Tensor, max_scratch_bytes: int, mask_bytes: int) -> None:
        self._tiles = Tiles(passages)
        super().__init__(self._tiles.passages, torch.float32)
        self._dim = passages.shape[1]
        self._rows = rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            passages.element_size() + _BYTES_OF_SUMS + mask_bytes,
            num_processors(passages.device),
            max_scratch_bytes,
        )

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return self._tiles.losses(self._tiles.rows_of(chunk, logit_scale), None)

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor, *, keep: bool
    ) -> ColumnPass:
        """Add the rows to `sums` (2, N)."""
        rows = self._tiles.rows_of(chunk, logit_scale)
        return ColumnPass(rows.logits, self._tiles.losses(rows, sums))

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None, Scaled]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) of the embeddings' dtype."""
        assert chunk.losses is not None  # from an earlier pass, for no tile holds a whole row
        rows = self._tiles.rows_of(chunk, logit_scale)
        of_positives = positive_gradients(rows, chunk.losses, columns)
        gradient = Scaled(
            self._passages.new_empty(len(rows.queries), len(self._passages)),
            self._loss_scale(chunk.coefficients, columns),
        )
        dots = self._tiles.write_weights(
            gradient, rows, of_positives, columns, needs_dots=needs_dots
        )
        return of_positives.losses, dots, gradient

    def query_gradient(self, weights: Any, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""
        return super().query_gradient(weights, logit_scale)[:, : self._dim]

    def add_passage_gradient(self, weights: Any, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        # The library is slow, too, with rows that do not begin at a multiple of 16 bytes.
        super().add_passage_gradient(weights, pad(queries))

    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""
        return super().passage_gradient(logit_scale)[:, : self._dim].contiguous()
