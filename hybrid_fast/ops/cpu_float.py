"""Kernels of the chunked loss on the CPU for float32 and float64: torch's products."""

from __future__ import annotations

import torch
from torch import Tensor

from hybrid_fast import _core
from hybrid_fast.ops import compat
from hybrid_fast.ops.chunked import Chunk, Columns
from hybrid_fast.ops.cpu_chunks import MOST_ROWS, add_sums, addresses, describe, rows_of_chunk

_COLUMNS_OF_SLICE = 1024  # what the fused product returns stands beside what it adds to


class FloatKernels:
    """Steps of the chunked loss for float32 and float64; see `chunked.Kernels`."""

    def __init__(self, passages: Tensor, max_bytes: int) -> None:
        self.dtype = passages.dtype
        self._passages = passages
        self._rows = rows_of_chunk(len(passages), passages.element_size(), MOST_ROWS, max_bytes)
        self._slices = [
            slice(first, first + _COLUMNS_OF_SLICE)
            for first in range(0, len(passages), _COLUMNS_OF_SLICE)
        ]
        self._grad_passages: list[Tensor] = []  # transposed, (D, columns) of each slice
        suffix = "double" if passages.dtype == torch.float64 else "float"
        self._contrast = getattr(_core, f"contrast_rows_{suffix}")
        self._add_sums = getattr(_core, f"add_column_sums_{suffix}")

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return self._run(chunk, logit_scale, None, gradient=False)[0]

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N)."""
        return self._run(chunk, logit_scale, columns, gradient=True)

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows to `sums` (2, N) and return the logits of their positives (R,)."""
        return add_sums(self._add_sums, chunk, logit_scale, self._scores(chunk), sums), None

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""
        return multiply(gradient, self._passages.T)

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        queries = queries.T.contiguous()
        # Copied: for a matrix with gaps oneDNN takes its reference code, 2,500 times as slow.
        parts = (gradient[:, columns].contiguous().T for columns in self._slices)
        if self._grad_passages:
            for i, part in enumerate(parts):
                self._grad_passages[i] = multiply_add(queries, part, self._grad_passages[i])
        else:
            self._grad_passages = [multiply(queries, part) for part in parts]

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and reset it."""
        # In the layout of the passages, or whoever keeps the gradient would copy it later.
        gradient = torch.empty_like(self._passages)
        for columns in reversed(self._slices):
            gradient[columns] = self._grad_passages.pop().T
        return gradient

    def _run(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = self._scores(chunk)
        losses, grad_dot_logits = scores.new_empty(2, len(scores))
        self._contrast(
            describe(chunk, logit_scale, scores),
            **addresses(
                chunk, scores.shape[1], columns, losses, grad_dot_logits, gradient=gradient
            ),
        )
        return losses, grad_dot_logits, scores

    def _scores(self, chunk: Chunk) -> Tensor:
        return multiply(chunk.queries, self._passages)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return a b^T, for (M, K) and (N, K)."""
    return compat.linear(a, b) if _by_onednn(a) else a @ b.T


def multiply_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a b^T + c, for (M, K), (N, K) and (M, N)."""
    return compat.linear_add(a, b, c) if _by_onednn(a) else c.addmm_(a, b.T)


def _by_onednn(a: Tensor) -> bool:
    """Tell whether torch's fused linear layer takes the product.

    It goes to oneDNN, exact in float32 as `torch.mm` is, and on an AMD processor with AVX-512 it is
    2.4 times as fast as the MKL behind `torch.mm`.
    """
    return a.dtype == torch.float32 and compat.has_fused_linear()
