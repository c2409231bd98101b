"""Chunks of the loss on the CPU: how long they are, and how they are passed to the C++ kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.chunked import Chunk, Columns

MOST_ROWS = 512
_FEWEST_ROWS = 128


def rows_of_chunk(num_columns: int, bytes_per_score: int, most_rows: int, max_bytes: int) -> int:
    """Return how many rows a chunk has; each chunk adds once to the passages' gradient."""
    rows = max_bytes // (bytes_per_score * num_columns)
    return min(max(rows, _FEWEST_ROWS), most_rows)


def describe(
    chunk: Chunk, logit_scale: Tensor, scores: Tensor | None, num_columns: int = 0
) -> dict[str, Any]:
    """Return a chunk as the C++ kernels take it: sizes, and addresses of tensors (0: none)."""
    negative_mask, mask = chunk.negative_mask, chunk.negative_mask.mask
    if mask is not None and mask.stride(1) != 1:
        mask = mask.contiguous()
    tensors = {
        "scores": scores,
        "positives": chunk.positives,
        "row_groups": negative_mask.row_groups,
        "column_groups": negative_mask.column_groups,
        "row_ids": negative_mask.row_ids,
        "column_ids": negative_mask.column_ids,
        "excluded_columns": negative_mask.excluded_columns,
    }
    contiguous = {
        name: None if tensor is None else tensor.contiguous() for name, tensor in tensors.items()
    }
    return {
        "num_rows": len(chunk.queries),
        "num_columns": num_columns if scores is None else scores.shape[1],
        "logit_scale": float(logit_scale),
        "margin": negative_mask.margin,
        "mask": 0 if mask is None else mask.data_ptr(),
        "mask_stride": 0 if mask is None else mask.stride(0),
        "tensors": (contiguous, mask),  # kept until the kernel is done
        **{name: 0 if tensor is None else tensor.data_ptr() for name, tensor in contiguous.items()},
    }


def addresses(
    chunk: Chunk,
    columns: Columns | None,
    losses: Tensor,
    grad_dot_logits: Tensor,
    *,
    gradient: bool,
) -> dict[str, int]:
    """Return the addresses of what the C++ kernels read besides the chunk and of their results."""
    return {
        "coefficients": chunk.coefficients.data_ptr() if gradient else 0,
        "column_lse": 0 if columns is None else columns.lse.data_ptr(),
        "column_coefficients": 0 if columns is None else columns.coefficients.data_ptr(),
        "losses": losses.data_ptr(),
        "grad_dot_logits": grad_dot_logits.data_ptr(),
        "num_threads": torch.get_num_threads(),
    }


def add_sums(
    kernel: Callable[..., None], chunk: Chunk, logit_scale: Tensor, scores: Tensor, sums: Tensor
) -> Tensor:
    """Add a chunk of scores to the sums of its columns; return the positives' logits (R,)."""
    logits = scores.new_empty(len(scores))
    kernel(
        describe(chunk, logit_scale, scores),
        largest=sums[0].data_ptr(),
        sums=sums[1].data_ptr(),
        positive_logits=logits.data_ptr(),
        num_threads=torch.get_num_threads(),
    )
    return logits
