"""Kernels of the chunked loss on the CPU for float32 and float64: the fastest products."""

from __future__ import annotations

import torch
from torch import Tensor

from hybrid_fast import _core
from hybrid_fast.cpu import products
from hybrid_fast.ops.backends.cpu_chunks import (
    MOST_ROWS,
    add_sums,
    addresses,
    describe,
    rows_of_chunk,
)
from hybrid_fast.ops.chunked import Chunk, Columns


class FloatKernels:
    """Steps of the chunked loss for float32 and float64; see `chunked.Kernels`."""

    def __init__(self, passages: Tensor, max_bytes: int) -> None:
        self.dtype = passages.dtype
        self._passages = passages
        self._rows = rows_of_chunk(len(passages), passages.element_size(), MOST_ROWS, max_bytes)
        self._scratch: Tensor | None = None  # (R, N), the scores of each chunk in turn
        self._grad_passages: Tensor | None = None
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
        return products.nn(gradient, self._passages)

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        if self._grad_passages is None:
            self._grad_passages = products.tn(gradient, queries)
        else:
            products.add_tn(gradient, queries, self._grad_passages)

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and reset it."""
        assert self._grad_passages is not None
        gradient, self._grad_passages = self._grad_passages, None
        return gradient

    def _run(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = self._scores(chunk)
        losses = scores.new_empty(scores.shape[0])
        grad_dot_logits = torch.empty_like(losses)
        self._contrast(
            describe(chunk, logit_scale, scores),
            **addresses(
                chunk, scores.shape[1], columns, losses, grad_dot_logits, gradient=gradient
            ),
        )
        return losses, grad_dot_logits, scores

    def _scores(self, chunk: Chunk) -> Tensor:
        """Return the scores of a chunk, (R, N); those of the last chunk are gone."""
        num_rows = chunk.queries.shape[0]
        if self._scratch is None:
            self._scratch = chunk.queries.new_empty(num_rows, self._passages.shape[0])
        return products.nt(chunk.queries, self._passages, scratch=self._scratch[:num_rows])
