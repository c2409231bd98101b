"""What both kinds of GPU kernels share: products by the vendor's library, and sizes of chunks.

Half-precision products have float32 results. float16 holds W times a power of two, the loss scale.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.chunked import Columns
from hybrid_fast.ops.negative_mask import NegativeMask

MAX_SCRATCH_BYTES = 2**31
_TILE_ROWS, _TILE_COLUMNS = 128, 256  # of the products
_SMALLEST_COEFFICIENT = 1e-30  # whose inverse is a float32


def multiply(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a b of `dtype`, for (M, K) and (K, N)."""
    if a.dtype == dtype:
        return torch.mm(a, b)
    return torch.mm(a, b, out_dtype=dtype)


def multiply_into(out: Tensor, a: Tensor, b: Tensor) -> None:
    """Write a b to `out`, for (M, K) and (K, N)."""
    if a.dtype == out.dtype:
        torch.mm(a, b, out=out)
    else:
        torch.mm(a, b, out_dtype=out.dtype, out=out)


def multiply_add(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b to `total`, for (M, K) and (K, N)."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)


class GradientProducts:
    """The products with W of one call; see `chunked.Kernels`.

    Args:
        passages: (N, D), of the dtype that products take.
        dtype: of sums.
    """

    def __init__(self, passages: Tensor, dtype: torch.dtype) -> None:
        self.dtype = passages.dtype
        self._sum_dtype = dtype
        self._passages = passages
        self._grad_passages: Tensor | None = None  # (N, D), times its loss scale
        self._loss_scale: Tensor | None = None  # of W
        self._passage_loss_scale: Tensor | None = None  # of the gradient of the passages

    def _choose_loss_scale(self, coefficients: Tensor, columns: Columns | None) -> None:
        """Choose the loss scale of the next W."""
        self._loss_scale = None
        if self.dtype == torch.float16:
            self._loss_scale = loss_scale_of(coefficients, columns)

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""
        product = multiply(gradient, self._passages, self._sum_dtype)
        return product if self._loss_scale is None else product / self._loss_scale

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        if self._grad_passages is None:
            self._grad_passages = multiply(gradient.T, queries, self._sum_dtype)
        else:
            if self._loss_scale is not None and self._passage_loss_scale is not None:
                self._grad_passages *= self._loss_scale / self._passage_loss_scale
            multiply_add(self._grad_passages, gradient.T, queries)
        self._passage_loss_scale = self._loss_scale

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and reset it."""
        assert self._grad_passages is not None
        gradient, self._grad_passages = self._grad_passages, None
        scale = self._passage_loss_scale
        return gradient if scale is None else gradient.div_(scale)


def rows_of_chunk(
    num_columns: int, dim: int, bytes_per_score: float, num_processors: int, max_scratch_bytes: int
) -> int:
    """Return how many rows of a chunk keep all processors busy within the scratch memory.

    The product W P has tiles of 128 x 256, whose number should be a multiple of the number of
    processors. Longer chunks add to the passages' gradient less often, which matters more than the
    cache.
    """
    tiles = math.ceil(dim / _TILE_COLUMNS)
    even = _TILE_ROWS * num_processors // math.gcd(num_processors, tiles)
    rows = int(max_scratch_bytes / (bytes_per_score * num_columns))
    unit = even if rows >= even else _TILE_ROWS
    return max(rows // unit * unit, _TILE_ROWS)


def mask_arguments(negative_mask: NegativeMask, limits: Tensor | None) -> dict[str, Any]:
    """Return the negative mask as the kernels take it.

    Args:
        negative_mask: of the rows of a chunk.
        limits: (R,), the score above which a negative is excluded; None without a margin.
    """
    tensors = {
        "row_groups": negative_mask.query_groups,
        "column_groups": negative_mask.passage_groups,
        "row_ids": negative_mask.query_passage_ids,
        "column_ids": negative_mask.passage_ids,
        "excluded": _as_bytes(negative_mask.excluded_columns),
    }
    mask = negative_mask.mask
    return {
        **{name: None if t is None else t.contiguous() for name, t in tensors.items()},
        "mask": _as_bytes(mask),
        "stride_mr": 0 if mask is None else mask.stride(0),
        "stride_mn": 0 if mask is None else mask.stride(1),
        "limits": limits,
    }


def loss_scale_of(coefficients: Tensor, columns: Columns | None) -> Tensor:
    """Return the power of two that brings the largest entry of W near the top of float16's range.

    W is at most a_i + beta_j; with the mean over many rows it would underflow in float16.
    """
    largest = coefficients.abs().max()
    if columns is not None:
        largest = torch.maximum(largest, columns.coefficients.abs().max())
    largest = largest.clamp(min=_SMALLEST_COEFFICIENT)
    # mantissa / largest is exactly 2^-exponent; W times 2^14 is then at most 2^15.
    return torch.frexp(largest).mantissa / largest * 2**14


def num_processors(device: torch.device) -> int:
    """Return how many multiprocessors a GPU has."""
    if device.type != "cuda":  # Triton's interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Make the tensors' device current, on which Triton launches."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _as_bytes(flags: Tensor | None) -> Tensor | None:
    return None if flags is None else flags.view(torch.uint8)
