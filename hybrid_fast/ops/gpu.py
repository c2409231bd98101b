"""The chunked loss on a GPU: products by the vendor's library, Triton kernels between them.

Half-precision products have float32 results. Nothing waits for the device, and launches depend on
shapes alone, so that a call can be captured in a CUDA graph. Never run on a device yet: sizes of
blocks come from the compiler's report, those of chunks from arithmetic.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.chunked import Chunk, Columns, Kernels

IS_BUILT = find_spec("triton") is not None

MAX_SCRATCH_BYTES = 2**31
_TILE_ROWS, _TILE_COLUMNS = 128, 256  # of the products
# One step of a kernel: more would leave registers for few programs at a time, or overflow them.
_ROW_BLOCKS = {4: 2048, 8: 512}  # columns of a row, at most, by bytes of a score
_COLUMN_BLOCK_BYTES = 128  # of a column
_COLUMN_BLOCK = 128  # columns whose sums one program adds up
COLUMN_WARPS = 4
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


def rows_of_chunk(
    num_columns: int, dim: int, bytes_per_score: int, num_processors: int, max_scratch_bytes: int
) -> int:
    """Return how many rows fill the processors best within the scratch memory.

    The product W P has tiles of 128 x 256: their number should be a multiple of the processors'.
    Long chunks add to the passages' gradient less often, which costs more than leaving the cache.
    """
    tiles = math.ceil(dim / _TILE_COLUMNS)
    even = _TILE_ROWS * num_processors // math.gcd(num_processors, tiles)
    rows = max_scratch_bytes // (bytes_per_score * num_columns)
    unit = even if rows >= even else _TILE_ROWS
    return max(rows // unit * unit, _TILE_ROWS)


def make_kernels(
    passages: Tensor,
    dtype: torch.dtype,
    product_dtype: torch.dtype,
    max_scratch_bytes: int | None,
) -> Kernels:
    """Return the kernels of one call.

    Args:
        passages: (N, D).
        dtype: of scores and sums, float32 or float64.
        product_dtype: embeddings and W are rounded to it before products.
        max_scratch_bytes: of scores and W; at least 128 rows are held.
    """
    return TritonKernels(passages.to(product_dtype), dtype, max_scratch_bytes or MAX_SCRATCH_BYTES)


class TritonKernels:
    """Steps of the chunked loss on a GPU; see `chunked.Kernels`.

    Args:
        passages: (N, D), of the dtype that products take.
        dtype: of scores and sums.
        max_scratch_bytes: of scores and W; at least 128 rows are held.
    """

    def __init__(self, passages: Tensor, dtype: torch.dtype, max_scratch_bytes: int) -> None:
        from hybrid_fast.ops import triton_kernels

        self._kernels = triton_kernels
        self._sum_dtype = dtype
        self.dtype = passages.dtype
        self._passages = passages
        # A gradient of the scores' dtype takes their place.
        self._in_place = passages.dtype == dtype
        self._total: Tensor | None = None  # (N, D), of the gradient of the passages, times gain
        self._gain: Tensor | None = None
        self._total_gain: Tensor | None = None
        self._rows = rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            dtype.itemsize if self._in_place else dtype.itemsize + passages.element_size(),
            _num_processors(passages.device),
            max_scratch_bytes,
        )

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        scores = self._scores(chunk)
        return self._contrast(chunk, scale, scores, None, None)[0]

    def gradients(
        self, chunk: Chunk, scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) of the product dtype."""
        scores = self._scores(chunk)
        gradient = scores if self._in_place else self._passages.new_empty(scores.shape)
        self._gain = None
        if gradient.dtype == torch.float16:
            self._gain = gain_of(chunk.coefficients, columns)
        losses, dots = self._contrast(chunk, scale, scores, gradient, columns)
        return losses, dots, gradient

    def add_column_sums(
        self, chunk: Chunk, scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows to `sums` (2, N) and return the logits of their positives (R,)."""
        scores = self._scores(chunk)
        num_rows, num_columns = scores.shape
        with _on(scores.device):
            self._kernels.add_column_sums_kernel[(math.ceil(num_columns / _COLUMN_BLOCK),)](
                scores=scores,
                sums=sums,
                positives=chunk.positives.contiguous(),
                scale=scale,
                **rule_arguments(chunk, scores),
                stride_s=scores.stride(0),
                R=num_rows,
                N=num_columns,
                BLOCK_R=_COLUMN_BLOCK_BYTES // scores.element_size(),
                BLOCK_N=_COLUMN_BLOCK,
                num_warps=COLUMN_WARPS,
                enable_fp_fusion=True,
            )
        return positive_scores(chunk, scores) * scale, None

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

    def _scores(self, chunk: Chunk) -> Tensor:
        # Not kept from chunk to chunk: the graph keeps these kernels until the backward pass, and
        # torch's allocator hands out the same memory again.
        shape = len(chunk.queries), len(self._passages)
        scores = self._passages.new_empty(shape, dtype=self._sum_dtype)
        multiply_into(scores, chunk.queries, self._passages.T)
        return scores

    def _contrast(
        self,
        chunk: Chunk,
        scale: Tensor,
        scores: Tensor,
        gradient: Tensor | None,
        columns: Columns | None,
    ) -> tuple[Tensor, Tensor]:
        num_rows, num_columns = scores.shape
        losses, dots = scores.new_empty(2, num_rows)
        block, num_warps = row_block(num_columns, scores.element_size())
        with _on(scores.device):
            self._kernels.contrast_rows_kernel[(num_rows,)](
                scores=scores,
                gradient=gradient,
                losses=losses,
                dots=dots,
                positives=chunk.positives.contiguous(),
                coefficients=chunk.coefficients.contiguous(),
                scale=scale,
                gain=self._gain,
                log_sums=None if columns is None else columns.log_sums,
                factors=None if columns is None else columns.factors,
                **rule_arguments(chunk, scores),
                stride_s=scores.stride(0),
                stride_g=0 if gradient is None else gradient.stride(0),
                R=num_rows,
                N=num_columns,
                BLOCK_N=block,
                num_warps=num_warps,
                enable_fp_fusion=True,  # the default, but of which Triton 3.9 warns
            )
        return losses, dots


def positive_scores(chunk: Chunk, scores: Tensor) -> Tensor:
    """Return the score of each row's positive (R,)."""
    return scores.gather(1, chunk.positives[:, None]).squeeze(1)


def rule_arguments(chunk: Chunk, scores: Tensor) -> dict[str, Any]:
    """Return how the kernels are told of the rules."""
    rules, mask = chunk.rules, chunk.rules.mask
    limits = None
    # Added here: a Python number would reach a kernel as float32, also where scores are float64.
    if rules.margin is not None:
        limits = positive_scores(chunk, scores) + rules.margin
    tensors = {
        "row_groups": rules.row_groups if rules.column_groups is not None else None,
        "column_groups": rules.column_groups if rules.row_groups is not None else None,
        "row_ids": rules.row_ids if rules.column_ids is not None else None,
        "column_ids": rules.column_ids if rules.row_ids is not None else None,
        "left_out": _as_bytes(rules.left_out_columns),
    }
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


def _as_bytes(flags: Tensor | None) -> Tensor | None:
    return None if flags is None else flags.view(torch.uint8)


def row_block(num_columns: int, bytes_per_score: int) -> tuple[int, int]:
    """Return how many columns of a row the kernel takes in one step, and its warps."""
    block = min(max(1 << (num_columns - 1).bit_length(), 128), _ROW_BLOCKS[bytes_per_score])
    return block, 4 if block <= 256 else 8


def _num_processors(device: torch.device) -> int:
    if device.type != "cuda":  # Triton's interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
