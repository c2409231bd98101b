"""Kernels of the chunked loss on the CPU: what all dtypes share, and those of float32 and float64.

Tensors reach the C++ core as arrays, which it checks.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from hybrid_fast import _core
from hybrid_fast.cpu import products
from hybrid_fast.cpu.arrays import array_of
from hybrid_fast.ops.kernels import Chunk, ColumnPass, Columns, Kernels
from hybrid_fast.ops.negative_mask import NegativeMask


class CpuKernels(Kernels):
    """What the kernels of all dtypes share; see `kernels.Kernels`."""

    def __init__(self, passages: Tensor, num_rows: int) -> None:
        """Take passages (N, D) of the dtype of the products, and how many rows a chunk has."""
        self.dtype = passages.dtype
        self._passages = passages
        self._num_rows = num_rows
        self._grad_passages: Tensor | None = None

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._num_rows

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor, *, keep: bool
    ) -> ColumnPass:
        """Add the rows to `sums` (2, N)."""
        logits = _core.add_column_sums(
            array_of(self._scores(chunk)),
            *self._rows(chunk),
            logit_scale=float(logit_scale),
            sums=array_of(sums),
            num_threads=torch.get_num_threads(),
        )
        return ColumnPass(torch.from_numpy(logits), losses=None)

    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""
        assert self._grad_passages is not None
        gradient, self._grad_passages = self._grad_passages, None
        return gradient.mul_(logit_scale)

    @abstractmethod
    def _scores(self, chunk: Chunk) -> Tensor:
        """Return the scores of a chunk, (R, N); they are overwritten before the next are made."""

    def _rows(self, chunk: Chunk) -> tuple[Any, _core.NegativeMask | None]:
        """Return positives and negative mask of a chunk as the core takes them."""
        positives = chunk.positives
        mask = core_mask(chunk.negative_mask, positives.shape[0], self._passages.shape[0])
        return array_of(positives.contiguous()), mask


class FloatKernels(CpuKernels):
    """Steps of the chunked loss for float32 and float64: the fastest products."""

    def __init__(self, passages: Tensor, num_rows: int) -> None:
        super().__init__(passages, num_rows)
        self._scratch: Tensor | None = None  # (R, N), the scores of each chunk in turn

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return torch.from_numpy(self._contrast(chunk, logit_scale, self._scores(chunk))[0])

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N)."""
        scores = self._scores(chunk)
        arrays = self._contrast(chunk, logit_scale, scores, **gradient_arguments(chunk, columns))
        losses, dots = map(torch.from_numpy, arrays)
        return losses, dots, scores

    def query_gradient(self, weights: Tensor, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""
        return products.nn(weights, self._passages).mul_(logit_scale)

    def add_passage_gradient(self, weights: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        if self._grad_passages is None:
            self._grad_passages = products.tn(weights, queries)
        else:
            products.add_tn(weights, queries, self._grad_passages)

    def _contrast(
        self, chunk: Chunk, logit_scale: Tensor, scores: Tensor, **gradient: Any
    ) -> tuple[Any, ...]:
        return _core.contrast_rows(
            array_of(scores),
            *self._rows(chunk),
            logit_scale=float(logit_scale),
            num_threads=torch.get_num_threads(),
            **gradient,
        )

    def _scores(self, chunk: Chunk) -> Tensor:
        num_rows = chunk.queries.shape[0]
        if self._scratch is None:
            self._scratch = chunk.queries.new_empty(num_rows, self._passages.shape[0])
        scratch = self._scratch
        if num_rows < scratch.shape[0]:  # the last chunk
            scratch = scratch[:num_rows]
        return products.nt(chunk.queries, self._passages, scratch=scratch)


def gradient_arguments(chunk: Chunk, columns: Columns | None) -> dict[str, Any]:
    """Return what the core takes for a gradient, beside what losses need."""
    arguments = {"coefficients": array_of(chunk.coefficients)}
    if columns is not None:
        arguments["column_lse"] = array_of(columns.lse)
        arguments["column_coefficients"] = array_of(columns.coefficients)
    return arguments


def core_mask(mask: NegativeMask, num_rows: int, num_columns: int) -> _core.NegativeMask | None:
    """Return the rules that were asked for as the core takes them, None if there are none."""
    arrays = {name: array_of(_side_by_side(tensor)) for name, tensor, _ in mask.tensors()}
    if not arrays and mask.margin is None:
        return None
    return _core.NegativeMask(num_rows, num_columns, margin=mask.margin, **arrays)


def _side_by_side(tensor: Tensor) -> Tensor:
    """Return a tensor whose columns lie side by side; its rows may lie apart."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
