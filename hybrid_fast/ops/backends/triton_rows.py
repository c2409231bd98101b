"""The chunked loss on a GPU: products by the vendor's library, Triton kernels between them.

The library computes the scores of a chunk once; where half-precision embeddings need them twice,
`triton_tiles` computes them and never writes them. Nothing synchronises with the device, and
launches depend on shapes alone, so that a call can be captured in a CUDA graph. Block sizes come
from the compiler's report, chunk sizes from arithmetic.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

import torch
from torch import Tensor

from hybrid_fast.ops.backends import gpu_products
from hybrid_fast.ops.backends.gpu_products import GradientProducts, mask_arguments, on
from hybrid_fast.ops.backends.triton_tiles import TileKernels
from hybrid_fast.ops.chunked import Chunk, Columns, Kernels
from hybrid_fast.ops.problem import Problem

HAS_TRITON = find_spec("triton") is not None

# Of one step of a kernel: larger ones would leave registers for few programs at a time, or spill.
_ROW_BLOCKS = {4: 2048, 8: 512}  # columns of a row, at most, by bytes of a score
_COLUMN_BLOCK_BYTES = 128  # of a column
_COLUMN_BLOCK = 128  # columns whose sums one program adds up
COLUMN_WARPS = 4


def make_kernels(problem: Problem, one_pass: bool) -> Kernels:
    """Return the kernels of one call.

    float32 and float64 use the library even where scores are needed twice: Triton is no faster at
    their exact products, and W takes the place of the scores.

    Args:
        problem: of embeddings on a GPU.
        one_pass: whether losses and gradients come from the same scores.
    """
    passages = problem.passages.contiguous().to(problem.product_dtype)
    dtype = problem.compute_dtype
    max_bytes = problem.max_scratch_bytes or gpu_products.MAX_SCRATCH_BYTES
    if passages.dtype == dtype or one_pass:
        return RowKernels(passages, dtype, max_bytes)
    return TileKernels(passages, max_bytes)


class RowKernels(GradientProducts):
    """Steps of the chunked loss on a GPU; see `chunked.Kernels`.

    Args:
        passages: (N, D), of the dtype that products take.
        dtype: of scores and sums.
        max_scratch_bytes: of scores and W; at least 128 rows are held.
    """

    def __init__(self, passages: Tensor, dtype: torch.dtype, max_scratch_bytes: int) -> None:

        from hybrid_fast.ops.backends import row_kernels

        super().__init__(passages, dtype)
        self._kernels = row_kernels
        # A gradient with the dtype of the scores overwrites them.
        self._in_place = passages.dtype == dtype
        self._rows = gpu_products.rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            dtype.itemsize if self._in_place else dtype.itemsize + passages.element_size(),
            gpu_products.num_processors(passages.device),
            max_scratch_bytes,
        )

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        scores = self._scores(chunk)
        return self._contrast(chunk, logit_scale, scores, None, None)[0]

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) of the product dtype."""
        scores = self._scores(chunk)
        gradient = scores if self._in_place else self._passages.new_empty(scores.shape)
        self._choose_loss_scale(chunk.coefficients, columns)
        losses, grad_dot_logits = self._contrast(chunk, logit_scale, scores, gradient, columns)
        return losses, grad_dot_logits, gradient

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows to `sums` (2, N) and return the logits of their positives (R,)."""
        scores = self._scores(chunk)
        num_rows, num_columns = scores.shape
        with on(scores.device):
            self._kernels.add_column_sums_kernel[(math.ceil(num_columns / _COLUMN_BLOCK),)](
                scores=scores,
                sums=sums,
                positives=chunk.positives.contiguous(),
                logit_scale=logit_scale,
                **mask_arguments(chunk.negative_mask, limits_of(chunk, scores)),
                stride_s=scores.stride(0),
                R=num_rows,
                N=num_columns,
                BLOCK_R=_COLUMN_BLOCK_BYTES // scores.element_size(),
                BLOCK_N=_COLUMN_BLOCK,
                num_warps=COLUMN_WARPS,
                enable_fp_fusion=True,
            )
        return positive_scores(chunk, scores) * logit_scale, None

    def _scores(self, chunk: Chunk) -> Tensor:
        # Not kept from chunk to chunk, for the graph may keep these kernels until the backward
        # pass; torch's allocator reuses the memory.
        shape = len(chunk.queries), len(self._passages)
        scores = self._passages.new_empty(shape, dtype=self._sum_dtype)
        gpu_products.multiply_into(scores, chunk.queries, self._passages.T)
        return scores

    def _contrast(
        self,
        chunk: Chunk,
        logit_scale: Tensor,
        scores: Tensor,
        gradient: Tensor | None,
        columns: Columns | None,
    ) -> tuple[Tensor, Tensor]:
        num_rows, num_columns = scores.shape
        losses, grad_dot_logits = scores.new_empty(2, num_rows)
        block, num_warps = row_block(num_columns, scores.element_size())
        with on(scores.device):
            self._kernels.contrast_rows_kernel[(num_rows,)](
                scores=scores,
                gradient=gradient,
                losses=losses,
                grad_dot_logits=grad_dot_logits,
                positives=chunk.positives.contiguous(),
                coefficients=chunk.coefficients.contiguous(),
                logit_scale=logit_scale,
                loss_scale=self._loss_scale,
                column_lse=None if columns is None else columns.lse,
                column_coefficients=None if columns is None else columns.coefficients,
                **mask_arguments(chunk.negative_mask, limits_of(chunk, scores)),
                stride_s=scores.stride(0),
                stride_g=0 if gradient is None else gradient.stride(0),
                R=num_rows,
                N=num_columns,
                BLOCK_N=block,
                num_warps=num_warps,
                enable_fp_fusion=True,  # the default, of which Triton 3.9 warns unless given
            )
        return losses, grad_dot_logits


def positive_scores(chunk: Chunk, scores: Tensor) -> Tensor:
    """Return the score of each row's positive (R,)."""
    return scores.gather(1, chunk.positives[:, None]).squeeze(1)


def limits_of(chunk: Chunk, scores: Tensor) -> Tensor | None:
    """Return the score above which each row excludes a negative (R,)."""
    if chunk.negative_mask.margin is None:
        return None
    # Added here, for a Python number would reach the kernel as float32 even with float64 scores.
    return positive_scores(chunk, scores) + chunk.negative_mask.margin


def row_block(num_columns: int, bytes_per_score: int) -> tuple[int, int]:
    """Return how many columns of a row the kernel takes in one step, and its warps."""
    block = min(max(1 << (num_columns - 1).bit_length(), 128), _ROW_BLOCKS[bytes_per_score])
    return block, 4 if block <= 256 else 8
