"""What both ways of the chunked loss on a GPU share: products by the vendor's library, and chunks.

Half-precision products have float32 results. float16 holds W times a power of two, its gain.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.chunked import Columns, Rules

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
        self._total: Tensor | None = None  # (N, D), of the gradient of the passages, times gain
        self._gain: Tensor | None = None
        self._total_gain: Tensor | None = None

    def _choose_gain(self, coefficients: Tensor, columns: Columns | None) -> None:
        """Choose the gain of the next W."""
        self._gain = None
        if self.dtype == torch.float16:
            self._gain = gain_of(coefficients, columns)

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""
        product = multiply(gradient, self._passages, self._sum_dtype)
        return product if self._gain is None else product / self._gain

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        if self._total is None:
            self._total = multiply(gradient.T, queries, self._sum_dtype)
        else:
            if self._gain is not None and self._total_gain is not None:
                self._total *= self._gain / self._total_gain
            multiply_add(self._total, gradient.T, queries)
        self._total_gain = self._gain

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and begin again."""
        assert self._total is not None
        total, self._total = self._total, None
        return total if self._total_gain is None else total.div_(self._total_gain)


def rows_of_chunk(
    num_columns: int, dim: int, bytes_per_score: float, num_processors: int, max_scratch_bytes: int
) -> int:
    """Return how many rows fill the processors best within the scratch memory.

    The product W P has tiles of 128 x 256: their number should be a multiple of the processors'.
    Long chunks add to the passages' gradient less often, which costs more than leaving the cache.
    """
    tiles = math.ceil(dim / _TILE_COLUMNS)
    even = _TILE_ROWS * num_processors // math.gcd(num_processors, tiles)
    rows = int(max_scratch_bytes / (bytes_per_score * num_columns))
    unit = even if rows >= even else _TILE_ROWS
    return max(rows // unit * unit, _TILE_ROWS)


def rule_arguments(rules: Rules, limits: Tensor | None) -> dict[str, Any]:
    """Return how the kernels are told of the rules.

    Args:
        rules: of the rows of a chunk.
        limits: (R,), the score up to which a negative is kept, where there is a margin.
    """
    tensors = {
        "row_groups": rules.row_groups if rules.column_groups is not None else None,
        "column_groups": rules.column_groups if rules.row_groups is not None else None,
        "row_ids": rules.row_ids if rules.column_ids is not None else None,
        "column_ids": rules.column_ids if rules.row_ids is not None else None,
        "left_out": _as_bytes(rules.left_out_columns),
    }
    mask = rules.mask
    return {
        **{name: None if t is None else t.contiguous() for name, t in tensors.items()},
        "mask": _as_bytes(mask),
        "stride_mr": 0 if mask is None else mask.stride(0),
        "stride_mn": 0 if mask is None else mask.stride(1),
        "limits": limits,
    }


def gain_of(coefficients: Tensor, columns: Columns | None) -> Tensor:
    """Return the power of two that brings the largest entry of W to float16's upper range.

    W is at most a_i + beta_j; the mean over many rows would make it vanish in float16.
    """
    largest = coefficients.abs().max()
    if columns is not None:
        largest = torch.maximum(largest, columns.factors.abs().max())
    largest = largest.clamp(min=_SMALLEST_COEFFICIENT)
    # mantissa / largest is 2^-exponent, exactly; W times 2^14 is then at most 2^15.
    return torch.frexp(largest).mantissa / largest * 2**14


def num_processors(device: torch.device) -> int:
    """Return how many multiprocessors a GPU has."""
    if device.type != "cuda":  # Triton's interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _as_bytes(flags: Tensor | None) -> Tensor | None:
    return None if flags is None else flags.view(torch.uint8)
