"""Kernels of the chunked loss on the CPU for bfloat16: products of the C++ core."""

from __future__ import annotations

import torch
from torch import Tensor

from hybrid_fast import _core
from hybrid_fast.ops.backends.cpu_chunks import (
    MOST_ROWS,
    add_sums,
    address,
    addresses,
    describe,
    rows_of_chunk,
)
from hybrid_fast.ops.chunked import Chunk, Columns


def has_bf16_product() -> bool:
    """Tell whether this processor multiplies bfloat16 (AMX or AVX-512 BF16)."""
    return _core.has_bf16_product()


class Bf16Kernels:
    """Steps of the chunked loss for bfloat16; see `chunked.Kernels`.

    Scores, losses and sums are float32. W is rounded to bfloat16, but for its entries of the
    positives, whose part of the gradients is added in float32: half of a gradient's size comes from
    the positive, as one term, while the rounding errors of many negatives average out. The C++ core
    multiplies with AMX or AVX-512 BF16, since torch's products of bfloat16 on the CPU round their
    results. Only the scores of a few rows exist at a time.
    """

    dtype = torch.bfloat16

    def __init__(self, passages: Tensor, max_bytes: int) -> None:
        self._passages = passages
        self._packed = PackedColumns(passages)
        self._packed_dimensions: PackedColumns | None = None
        self._grad_passages: Tensor | None = None
        self._positives: tuple[Tensor, Tensor] | None = None  # of the last W: columns, entries
        self._rows = rows_of_chunk(len(passages), 2, 2 * MOST_ROWS, max_bytes)

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return self._run(chunk, logit_scale, None, None, None)[0]

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) in bfloat16.

        W is 0 at the positives; the products below add their part.
        """
        gradient = self._passages.new_empty(len(chunk.queries), len(self._passages))
        grad_positives = logit_scale.new_empty(len(chunk.queries))
        self._positives = chunk.positives.contiguous(), grad_positives
        return *self._run(chunk, logit_scale, columns, gradient, grad_positives), gradient

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows to `sums` (2, N) and return the logits of their positives (R,)."""
        scores = self._packed.multiply(chunk.queries)
        return add_sums(_core.add_column_sums_float, chunk, logit_scale, scores, sums), None

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""
        if self._packed_dimensions is None:
            self._packed_dimensions = PackedColumns(self._passages.T)
        total = self._packed_dimensions.multiply(gradient)
        self._add_positives(self._passages, total, from_positives=True)
        return total

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        self._grad_passages = PackedColumns(queries.T).multiply(gradient.T, self._grad_passages)
        self._add_positives(queries, self._grad_passages, from_positives=False)

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and reset it."""
        assert self._grad_passages is not None
        gradient, self._grad_passages = self._grad_passages, None
        return gradient

    def _add_positives(self, vectors: Tensor, sums: Tensor, *, from_positives: bool) -> None:
        """Add the part of the positives to a gradient (.., D): of each row, or of each column."""
        assert self._positives is not None
        positives, weights = self._positives
        count, dim = len(weights), self._passages.shape[1]
        rows = address("positives", positives, torch.int64, count)
        _core.add_positives(
            weights=address("weights", weights, torch.float32, count),
            count=count,
            vectors=address("vectors", vectors, torch.bfloat16, len(vectors), dim),
            from_rows=rows if from_positives else 0,
            sums=address("sums", sums, torch.float32, len(sums), dim),
            into_rows=0 if from_positives else rows,
            dim=dim,
            num_threads=torch.get_num_threads(),
        )

    def _run(
        self,
        chunk: Chunk,
        logit_scale: Tensor,
        columns: Columns | None,
        gradient: Tensor | None,
        grad_positives: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        rows, num_columns = len(chunk.queries), len(self._passages)
        dim = self._passages.shape[1]
        losses, grad_dot_logits = logit_scale.new_empty(2, rows)
        _core.contrast_bf16_rows(
            describe(chunk, logit_scale, None, num_columns),
            queries=address("queries", chunk.queries, torch.bfloat16, rows, dim),
            packed=self._packed.address(),
            dim=dim,
            **addresses(
                chunk,
                num_columns,
                columns,
                losses,
                grad_dot_logits,
                gradient=gradient is not None,
            ),
            bf16=address("gradient", gradient, torch.bfloat16, rows, num_columns),
            grad_positives=address("grad_positives", grad_positives, torch.float32, rows),
        )
        return losses, grad_dot_logits


class PackedColumns:
    """A bfloat16 matrix in the order in which the C++ product reads it.

    Args:
        columns: (C, K), its transpose; rows or columns contiguous.
    """

    def __init__(self, columns: Tensor) -> None:
        self._num_columns, self._dim = columns.shape
        self._data = columns.new_empty(_core.packed_size(*columns.shape))
        _core.pack_bf16(
            columns=_address_of_matrix("columns", columns),
            num_columns=self._num_columns,
            dim=self._dim,
            stride=columns.stride(0),
            step=columns.stride(1),
            packed=self.address(),
            num_threads=torch.get_num_threads(),
        )

    def address(self) -> int:
        """Return where the packed numbers lie."""
        size = _core.packed_size(self._num_columns, self._dim)
        return address("packed", self._data, torch.bfloat16, size)

    def multiply(self, rows: Tensor, total: Tensor | None = None) -> Tensor:
        """Return the float32 product of rows (R, K) with the matrix, (R, C), added to `total`."""
        add, (num_rows, dim) = total is not None, rows.shape
        if dim != self._dim:
            raise ValueError(f"rows have {dim} coordinates; need {self._dim}, as the columns have")
        if total is None:
            total = rows.new_empty(num_rows, self._num_columns, dtype=torch.float32)
        _core.multiply_bf16(
            rows=_address_of_matrix("rows", rows),
            num_rows=num_rows,
            dim=dim,
            stride=rows.stride(0),
            step=rows.stride(1),
            packed=self.address(),
            num_columns=self._num_columns,
            out=address("total", total, torch.float32, num_rows, self._num_columns),
            add=add,
            num_threads=torch.get_num_threads(),
        )
        return total


def _address_of_matrix(name: str, matrix: Tensor) -> int:
    """Return where a matrix lies whose rows or columns are contiguous."""
    by_rows = matrix if matrix.is_contiguous() else matrix.T
    return address(name, by_rows, torch.bfloat16, *by_rows.shape)
