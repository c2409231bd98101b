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


def address(name: str, tensor: Tensor | None, dtype: torch.dtype, *shape: int) -> int:
    """Return where the numbers of a tensor lie, 0 for None, as the C++ kernels take it.

    Raises:
        ValueError: the kernels would read or write beside it: it is not on the CPU, not contiguous,
            or not of this dtype and shape.
    """
    if tensor is None:
        return 0
    if not (
        tensor.dtype == dtype
        and tensor.shape == shape
        and tensor.is_contiguous()
        and tensor.device.type == "cpu"
    ):
        raise ValueError(
            f"{name} is {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}, strides "
            f"{tensor.stride()}; the kernel needs contiguous {dtype} {shape} on cpu"
        )
    return tensor.data_ptr()


def describe(
    chunk: Chunk, logit_scale: Tensor, scores: Tensor | None, num_columns: int = 0
) -> dict[str, Any]:
    """Return a chunk as the C++ kernels take it: sizes, and addresses of tensors (0: none)."""
    negative_mask, rows = chunk.negative_mask, len(chunk.queries)
    columns = num_columns if scores is None else scores.shape[1]
    mask = negative_mask.mask
    if mask is not None and mask.stride(1) != 1:
        mask = mask.contiguous()
    if mask is not None:  # whose rows may lie apart
        address("mask", mask[0], torch.bool, columns)
    shapes = {
        "positives": (chunk.positives, torch.int64, rows),
        "row_groups": (negative_mask.query_groups, torch.int64, rows),
        "column_groups": (negative_mask.passage_groups, torch.int64, columns),
        "row_ids": (negative_mask.query_passage_ids, torch.int64, rows),
        "column_ids": (negative_mask.passage_ids, torch.int64, columns),
        "excluded_columns": (negative_mask.excluded_columns, torch.bool, columns),
    }
    contiguous = {
        name: None if tensor is None else tensor.contiguous()
        for name, (tensor, _, _) in shapes.items()
    }
    return {
        "num_rows": rows,
        "num_columns": columns,
        "logit_scale": float(logit_scale),
        "margin": negative_mask.margin,
        "scores": address("scores", scores, logit_scale.dtype, rows, columns),
        "mask": 0 if mask is None else mask.data_ptr(),
        "mask_stride": 0 if mask is None else mask.stride(0),
        "tensors": (contiguous, mask),  # kept until the kernel is done
        **{
            name: address(name, contiguous[name], dtype, size)
            for name, (_, dtype, size) in shapes.items()
        },
    }


def addresses(
    chunk: Chunk,
    num_columns: int,
    columns: Columns | None,
    losses: Tensor,
    grad_dot_logits: Tensor,
    *,
    gradient: bool,
) -> dict[str, int]:
    """Return the addresses of what the C++ kernels read besides the chunk and of their results."""
    dtype, rows = losses.dtype, len(chunk.queries)
    lse, coefficients = (None, None) if columns is None else (columns.lse, columns.coefficients)
    return {
        "coefficients": address(
            "coefficients", chunk.coefficients if gradient else None, dtype, rows
        ),
        "column_lse": address("column_lse", lse, dtype, num_columns),
        "column_coefficients": address("column_coefficients", coefficients, dtype, num_columns),
        "losses": address("losses", losses, dtype, rows),
        "grad_dot_logits": address("grad_dot_logits", grad_dot_logits, dtype, rows),
        "num_threads": torch.get_num_threads(),
    }


def add_sums(
    kernel: Callable[..., None], chunk: Chunk, logit_scale: Tensor, scores: Tensor, sums: Tensor
) -> Tensor:
    """Add a chunk of scores to the sums of its columns; return the positives' logits (R,)."""
    logits = scores.new_empty(len(scores))
    dtype, num_columns = scores.dtype, scores.shape[1]
    kernel(
        describe(chunk, logit_scale, scores),
        largest=address("largest", sums[0], dtype, num_columns),
        sums=address("sums", sums[1], dtype, num_columns),
        positive_logits=address("logits", logits, dtype, len(scores)),
        num_threads=torch.get_num_threads(),
    )
    return logits
