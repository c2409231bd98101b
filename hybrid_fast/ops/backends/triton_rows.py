"""The chunked loss on a GPU: scores by the vendor's library, Triton kernels that read their rows.

The library computes the scores of a chunk once; a kernel turns each row into its loss and, for the
products of the gradient, its W. Block sizes come from the compiler's report, chunk sizes from
arithmetic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hybrid_fast.ops.backends import gpu_products
from hybrid_fast.ops.backends.gpu_products import GradientProducts, Scaled, launch
from hybrid_fast.ops.backends.row_kernels import (
    add_column_sums_kernel,
    column_terms_kernel,
    contrast_rows_kernel,
)
from hybrid_fast.ops.backends.triton_mask import kernel_mask
from hybrid_fast.ops.kernels import Chunk, ColumnPass, Columns

# Of one step of a kernel: larger ones would leave registers for few programs at a time, or spill.
_ROW_BLOCKS = {4: 2048, 8: 512}  # columns of a row, at most, by bytes of a score
_COLUMN_BLOCK_BYTES = 128  # of a column
_COLUMN_BLOCK = 128  # columns whose sums one program adds up
COLUMN_WARPS = 4
TERM_BLOCKS = {"BLOCK_R": 128, "BLOCK_N": 32}  # rows, columns of what one program adds up


class RowKernels(GradientProducts):
    """Steps of the chunked loss on a GPU; see `kernels.Kernels`.

    Args:
        passages: (N, D), of the dtype that products take.
        dtype: of scores and sums.
        max_scratch_bytes: of scores, W and masks; at least 128 rows are held.
        mask_bytes: of a pair of a chunk, in a mask that is made for the chunk.
        num_queries: of the call. If one chunk holds them, its scores are computed once.
    """

    takes_constants = True

    def __init__(
        self,
        passages: Tensor,
        dtype: torch.dtype,
        max_scratch_bytes: int,
        mask_bytes: int,
        num_queries: int,
    ) -> None:
        super().__init__(passages, dtype)
        # A gradient with the dtype of the scores overwrites them.
        self._in_place = passages.dtype == dtype
        gradient_bytes = 0 if self._in_place else passages.element_size()
        self._rows = gpu_products.rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            dtype.itemsize + gradient_bytes + mask_bytes,
            gpu_products.num_processors(passages.device),
            max_scratch_bytes,
        )
        self._keeps_scores = num_queries <= self._rows

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return _contrast(chunk, logit_scale, self._scores(chunk), None, None, False)[0]

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None, Scaled]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) of the product dtype."""
        scores = self._scores(chunk) if chunk.kept is None else chunk.kept
        loss_scale = self._loss_scale(chunk.coefficients, columns)
        gradient = Scaled(
            scores if self._in_place else self._passages.new_empty(scores.shape),
            loss_scale,
            is_divided=loss_scale is None,
        )
        losses, dots = _contrast(chunk, logit_scale, scores, gradient, columns, needs_dots)
        return losses, dots, gradient

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor, *, keep: bool
    ) -> ColumnPass:
        """Add the rows to `sums` (2, N)."""
        scores = self._scores(chunk)
        num_rows, num_columns = scores.shape
        launch(
            add_column_sums_kernel,
            math.ceil(num_columns / _COLUMN_BLOCK),
            scores.device,
            {
                "scores": scores,
                "sums": sums,
                "positives": _contiguous(chunk.positives),
                "logit_scale": number_or_address(logit_scale, scores),
                "negative_mask": kernel_mask(chunk.negative_mask, limits_of(chunk, scores)),
                "stride_s": scores.stride(0),
                "R": num_rows,
                "N": num_columns,
                "BLOCK_R": _COLUMN_BLOCK_BYTES // scores.element_size(),
                "BLOCK_N": _COLUMN_BLOCK,
                "num_warps": COLUMN_WARPS,
            },
        )
        logits = positive_scores(chunk, scores) * logit_scale
        return ColumnPass(logits, losses=None, kept=scores if keep and self._keeps_scores else None)

    def column_terms(
        self,
        sums: Tensor,
        logits: Tensor,
        positives: Tensor | None,
        coefficients: Tensor,
        in_batch: Tensor | None,
    ) -> tuple[Columns, Tensor]:
        """Compute `Kernels.column_terms`; torch takes a sort and a dozen launches for it."""
        num_columns, num_rows = sums.shape[1], len(logits)
        columns = Columns(sums.new_empty(num_columns), sums.new_empty(num_columns))
        gaps = torch.empty_like(logits)
        launch(
            column_terms_kernel,
            math.ceil(num_columns / TERM_BLOCKS["BLOCK_N"]),
            sums.device,
            {
                "sums": sums,
                "logits": logits,
                "positives": _contiguous(positives),
                "coefficients": coefficients_of(coefficients, logits),
                "in_batch": None if in_batch is None else in_batch.contiguous().view(torch.uint8),
                "column_lse": columns.lse,
                "column_coefficients": columns.coefficients,
                "gaps": gaps,
                "R": num_rows,
                "N": num_columns,
                **TERM_BLOCKS,
            },
        )
        return columns, gaps

    def _scores(self, chunk: Chunk) -> Tensor:
        # Not kept from chunk to chunk, for the graph may keep these kernels until the backward
        # pass; torch's allocator reuses the memory.
        return gpu_products.multiply(chunk.queries, self._passages.T, self._sum_dtype)


def _contrast(
    chunk: Chunk,
    logit_scale: Tensor,
    scores: Tensor,
    gradient: Scaled | None,
    columns: Columns | None,
    needs_dots: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return losses and sum_j W_ij logit_ij, (R,), and write W."""
    num_rows, num_columns = scores.shape
    losses = scores.new_empty(num_rows)
    grad_dot_logits = scores.new_empty(num_rows) if needs_dots else None
    loss_scale = None
    if gradient is not None and gradient.loss_scale is not None:
        loss_scale = number_or_address(gradient.loss_scale, scores)
    block, num_warps = row_block(num_columns, scores.element_size())
    launch(
        contrast_rows_kernel,
        num_rows,
        scores.device,
        {
            "scores": scores,
            "gradient": None if gradient is None else gradient.values,
            "losses": losses,
            "grad_dot_logits": grad_dot_logits,
            "positives": _contiguous(chunk.positives),
            "coefficients": coefficients_of(chunk.coefficients, losses),
            "logit_scale": number_or_address(logit_scale, scores),
            "loss_scale": loss_scale,
            "column_lse": None if columns is None else columns.lse,
            "column_coefficients": None if columns is None else columns.coefficients,
            "negative_mask": kernel_mask(chunk.negative_mask, limits_of(chunk, scores)),
            "stride_s": scores.stride(0),
            "stride_g": None if gradient is None else gradient.values.stride(0),
            "R": num_rows,
            "N": num_columns,
            "BLOCK_N": block,
            "num_warps": num_warps,
        },
    )
    return losses, grad_dot_logits


def number_or_address(scale: Tensor, scores: Tensor) -> float | Tensor:
    """Return a 0-dim tensor as kernels take it: one that Python knows costs no launch."""
    if scale.device == scores.device:
        return scale
    number = float(scale)
    # It would reach the kernel as float32 even with float64 scores.
    return number if scores.dtype == torch.float32 else scores.new_full((), number)


def coefficients_of(coefficients: Tensor, losses: Tensor) -> float | Tensor:
    """Return coefficients of rows with these losses as kernels take them; see `Chunk`."""
    if coefficients.ndim == 1:
        return coefficients
    number = float(coefficients)
    return number if losses.dtype == torch.float32 else losses.new_full(losses.shape, number)


def positive_scores(chunk: Chunk, scores: Tensor) -> Tensor:
    """Return the score of each row's positive (R,)."""
    if chunk.positives is None:
        return scores.diagonal()
    return scores.gather(1, chunk.positives[:, None]).squeeze(1)


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


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
