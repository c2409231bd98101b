"""What both kinds of GPU kernels share: products by the vendor's library, launches, chunk sizes.

Half-precision products have float32 results. float16 holds W times a power of two, the loss scale.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from hybrid_fast.ops.backends.triton_mask import NO_MASK
from hybrid_fast.ops.kernels import Columns, Kernels

_TILE_ROWS, _TILE_COLUMNS = 128, 256  # of the products
_SMALLEST_COEFFICIENT = 1e-30  # whose inverse is a float32


def multiply(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a b of `dtype`, for (M, K) and (K, N)."""
    if a.dtype == dtype:
        return torch.mm(a, b)
    return torch.mm(a, b, out_dtype=dtype)


def multiply_add(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b to `total`, for (M, K) and (K, N)."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)


class Scaled(NamedTuple):
    """A gradient with a loss scale: W of a chunk (R, N), or the sum of all W^T Q (N, D)."""

    values: Tensor  # times the loss scale
    loss_scale: Tensor | None  # 0-dim, a power of two; None: 1
    is_divided: bool = False  # by the temperature


class GradientProducts(Kernels):
    """The products with W of one call; see `kernels.Kernels`.

    Args:
        passages: (N, D), of the dtype that products take.
        dtype: of sums.
    """

    def __init__(self, passages: Tensor, dtype: torch.dtype) -> None:
        self.dtype = passages.dtype
        self._sum_dtype = dtype
        self._passages = passages
        self._grad_passages: Scaled | None = None  # with the loss scale of the last W

    def query_gradient(self, weights: Scaled, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""
        product = multiply(weights.values, self._passages, self._sum_dtype)
        return _unscaled(product, logit_scale, weights)

    def add_passage_gradient(self, weights: Scaled, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        transposed, scale = weights.values.T, weights.loss_scale
        if self._grad_passages is None:
            total = multiply(transposed, queries, self._sum_dtype)
        else:
            total = self._grad_passages.values
            if scale is not None and self._grad_passages.loss_scale is not None:
                total *= scale / self._grad_passages.loss_scale
            multiply_add(total, transposed, queries)
        self._grad_passages = Scaled(total, scale, weights.is_divided)

    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""
        assert self._grad_passages is not None
        gradient, self._grad_passages = self._grad_passages, None
        return _unscaled(gradient.values, logit_scale, gradient)

    def _loss_scale(self, coefficients: Tensor, columns: Columns | None) -> Tensor | None:
        """Return the loss scale of a W; None where its dtype needs none."""
        return loss_scale_of(coefficients, columns) if self.dtype == torch.float16 else None


def _unscaled(product: Tensor, logit_scale: Tensor, gradient: Scaled) -> Tensor:
    """Return a product of a gradient's values divided by loss scale and temperature."""
    if gradient.is_divided:
        return product
    scale = gradient.loss_scale
    return product.mul_(logit_scale if scale is None else logit_scale / scale)


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


@lru_cache
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


@cache
def num_processors(device: torch.device) -> int:
    """Return how many multiprocessors a GPU has."""
    if device.type != "cuda":  # Triton's interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def launch(kernel: Any, num_programs: int, device: torch.device, arguments: dict[str, Any]) -> None:
    """Run a Triton kernel on the device of its tensors.

    Triton looks at each argument to find what it has compiled, in most of the time of a launch.
    Where equal kinds of arguments came before, the compiled kernel is known. Hooks of launches, by
    which profilers see them, are called all the same; hooks that run before Triton looks are not.

    Args:
        kernel: what `triton.jit` returns.
        num_programs: of the grid, which has one axis.
        device: of the tensors.
        arguments: of the kernel and options of the compiler, by name, in a dict: each call that
            takes them by name copies them all.
    """
    # Triton launches on the current device.
    is_current = device.type != "cuda" or device.index == torch.cuda.current_device()
    with nullcontext() if is_current else torch.cuda.device(device):
        key = _kind_of_launch(kernel, device, arguments)
        known = _launched.get(key)  # in one step, for another thread may empty it
        if known is not None:
            compiled, names = known
            compiled[(num_programs, 1, 1)](*[arguments[name] for name in names])
            return
        # Fusion is the default, of which Triton 3.9 warns unless it is given.
        compiled = kernel[(num_programs,)](**arguments, enable_fp_fusion=True)
        if key is not None and _tells_kinds(kernel):
            if len(_launched) >= _MOST_LAUNCHED:
                _launched.clear()
            _launched[key] = compiled, kernel.arg_names


_launched: dict[Hashable, tuple[Any, Sequence[str]]] = {}  # kernels, and what they take, in order
_MOST_LAUNCHED = 4096  # then it is emptied


def _tells_kinds(kernel: Any) -> bool:
    """Tell whether `_kind` sees all that decides on a kernel: on AMD sizes of tensors do, too."""
    return isinstance(kernel, triton.JITFunction) and torch.version.hip is None


def _kind_of_launch(kernel: Any, device: torch.device, arguments: dict[str, Any]) -> Hashable:
    """Return what decides which compiled kernel runs, or more than that; None if unknown."""
    try:
        # The kernel by its number, whose own hash is slow; what was compiled of it keeps it alive.
        return id(kernel), device, *map(_kind, arguments.values())
    except TypeError:
        return None


def _kind(argument: Any) -> Any:
    kind = type(argument)
    if kind is int:  # whether it is 1, or a multiple of 16
        return argument
    if argument is None or argument is NO_MASK:
        return None
    if isinstance(argument, Tensor):
        return argument.dtype, argument.data_ptr() % 16
    if kind is bool:  # True is not 1
        return kind, argument
    if kind is float:
        return kind
    if isinstance(argument, tuple):
        return tuple(map(_kind, argument))
    raise TypeError(f"kernels that take {type(argument).__name__} are found by Triton")
