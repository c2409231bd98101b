"""What the chunked loss asks of a device: the steps of its algorithm, for some rows at a time.

`chunked` is the algorithm, and explains W, u_j and beta_j.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from hybrid_fast.ops.negative_mask import NegativeMask


class Columns(NamedTuple):
    """What `symmetric` needs of whole columns for the gradient; see `chunked`."""

    lse: Tensor  # (N,), u_j; infinity where no row is in the sum
    coefficients: Tensor  # (N,), beta_j


class Chunk(NamedTuple):
    """Rows of the problem: what `Kernels` compute on. R rows, N columns."""

    queries: Tensor  # (R, D), of `Kernels.dtype`
    positives: Any  # int64 (R,), or None: see `Kernels.takes_constants`
    coefficients: Tensor  # (R,), a_i, of the compute dtype, or 0-dim, likewise
    losses: Tensor | None  # (R,), of one direction, if an earlier pass computed them
    kept: Any  # what an earlier pass over these rows kept for this one
    negative_mask: NegativeMask


class ColumnPass(NamedTuple):
    """What the pass over a chunk that adds to the sums of columns computes of its rows."""

    logits: Tensor  # (R,), of the positives
    losses: Tensor | None  # (R,), of one direction, if the same product gives them
    kept: Any = None  # for the gradients of the same rows


class Kernels(ABC):
    """The steps that differ between devices, for one call. Sums have the compute dtype.

    `logit_scale` is 1 / temperature, 0-dim of the compute dtype, on the device.

    Attributes:
        dtype: of the embeddings in the products.
        takes_constants: whether what Python knows may come as such, without a launch that makes it
            a tensor on the device: `logit_scale` and coefficients that are all the same as 0-dim
            tensors on the CPU, and None for positives if that of row i is column i.
    """

    dtype: torch.dtype
    takes_constants: ClassVar[bool] = False

    @abstractmethod
    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""

    @abstractmethod
    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""

    @abstractmethod
    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Return the losses (R,), sum_j W_ij logit_ij (R,), and W (R, N).

        W is as these kernels hold it, for their products alone. With `columns` all are those of
        both directions, added up. Without `needs_dots` nobody needs the second, which may be None.
        """

    @abstractmethod
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

    @abstractmethod
    def query_gradient(self, weights: Any, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""

    @abstractmethod
    def add_passage_gradient(self, weights: Any, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""

    @abstractmethod
    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""

    def column_terms(
        self,
        sums: Tensor,
        logits: Tensor,
        positives: Any,
        coefficients: Tensor,
        in_batch: Tensor | None,
    ) -> tuple[Columns, Tensor]:
        """Return what the gradient needs of whole columns, coefficients of these rows, and gaps.

        Args:
            sums: (2, N), over all rows.
            logits: (B,), of the positives.
            positives: int64 (B,); see `takes_constants`.
            coefficients: (B,), a_i; likewise.
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
