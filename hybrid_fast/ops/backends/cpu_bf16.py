"""Kernels of the chunked loss on the CPU for bfloat16: products of the C++ core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hybrid_fast import _core
from hybrid_fast.cpu.arrays import array_of
from hybrid_fast.ops.backends.cpu_kernels import CpuKernels, gradient_arguments
from hybrid_fast.ops.kernels import Chunk, Columns


def has_bf16_product() -> bool:
    """Tell whether this processor multiplies bfloat16 (AMX or AVX-512 BF16)."""
    return _core.has_bf16_product()


@dataclass(frozen=True)
class Weights:
    """W, its entries of the positives apart."""

    negatives: Tensor  # bfloat16 (R, N), 0 at the positives
    positives: Tensor  # float32 (R,)
    columns: Tensor  # int64 (R,), of the positives


class Bf16Kernels(CpuKernels):
    """Steps of the chunked loss for bfloat16.

    Scores, losses and sums are float32. W is rounded to bfloat16, but for its entries of the
    positives, whose part of the gradients is added in float32: half of a gradient's size comes from
    the positive, as one term, while the rounding errors of many negatives average out. The C++ core
    multiplies with AMX or AVX-512 BF16, since torch's products of bfloat16 on the CPU round their
    results. Only the scores of a few rows exist at a time.
    """

    def __init__(self, passages: Tensor, num_rows: int) -> None:
        super().__init__(passages, num_rows)
        self._packed = pack(passages)
        self._packed_dimensions: _core.PackedColumns | None = None

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return torch.from_numpy(self._contrast(chunk, logit_scale)[0])

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor, Weights]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N)."""
        negatives = self._passages.new_empty(chunk.queries.shape[0], self._passages.shape[0])
        arrays = self._contrast(
            chunk, logit_scale, gradient=array_of(negatives), **gradient_arguments(chunk, columns)
        )
        losses, dots, of_positives = map(torch.from_numpy, arrays)
        return losses, dots, Weights(negatives, of_positives, chunk.positives.contiguous())

    def query_gradient(self, weights: Weights, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""
        if self._packed_dimensions is None:
            self._packed_dimensions = pack(self._passages.T)
        total = multiply(weights.negatives, self._packed_dimensions)
        _core.add_positives(
            array_of(weights.positives),
            array_of(self._passages),
            array_of(total),
            from_rows=array_of(weights.columns),
            num_threads=torch.get_num_threads(),
        )
        return total.mul_(logit_scale)

    def add_passage_gradient(self, weights: Weights, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        self._grad_passages = multiply(weights.negatives.T, pack(queries.T), self._grad_passages)
        _core.add_positives(
            array_of(weights.positives),
            array_of(queries),
            array_of(self._grad_passages),
            into_rows=array_of(weights.columns),
            num_threads=torch.get_num_threads(),
        )

    def _contrast(self, chunk: Chunk, logit_scale: Tensor, **gradient: Any) -> tuple[Any, ...]:
        return _core.contrast_bf16_rows(
            array_of(chunk.queries),
            self._packed,
            *self._rows(chunk),
            logit_scale=float(logit_scale),
            num_threads=torch.get_num_threads(),
            **gradient,
        )

    def _scores(self, chunk: Chunk) -> Tensor:
        return multiply(chunk.queries, self._packed)


def pack(columns: Tensor) -> _core.PackedColumns:
    """Return a bfloat16 matrix (K, C) in the order in which the core reads it, given transposed."""
    return _core.PackedColumns(array_of(columns), num_threads=torch.get_num_threads())


def multiply(rows: Tensor, columns: _core.PackedColumns, total: Tensor | None = None) -> Tensor:
    """Return the float32 product of rows (R, K) with a matrix, (R, C), added to `total`."""
    out = total
    if out is None:
        out = rows.new_empty(rows.shape[0], columns.num_columns, dtype=torch.float32)
    columns.multiply(
        array_of(rows),
        array_of(out),
        add=total is not None,
        num_threads=torch.get_num_threads(),
    )
    return out
