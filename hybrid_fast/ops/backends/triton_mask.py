"""The negative mask on a GPU: what a launch passes, and how kernels read it.

A kernel takes the whole mask as one named tuple. Its parts that were not asked for are None, which
Triton compiles away: they cost nothing. A new rule is a field here and its lines in
`kept_negatives`.
"""

# What kernels take are pointers and numbers of the compiler, which have no types here.
# ruff: noqa: ANN001, ANN201
# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from hybrid_fast.ops.negative_mask import NOTHING_EXCLUDED, NegativeMask


class KernelMask(NamedTuple):
    """The negative mask of R rows and N columns as kernels take it; see `NegativeMask`."""

    query_groups: Tensor | None  # int64 (R,)
    passage_groups: Tensor | None  # int64 (N,)
    query_passage_ids: Tensor | None  # int64 (R,)
    passage_ids: Tensor | None  # int64 (N,)
    mask: Tensor | None  # uint8 (R, N)
    mask_stride_r: int | None
    mask_stride_n: int | None
    excluded_columns: Tensor | None  # uint8 (N,)
    owners: Tensor | None  # int64 (N,), counted from the first of the R rows
    in_batch: Tensor | None  # uint8 (R,)
    limits: Tensor | None  # (R,), the score above which a negative is excluded


NO_MASK = KernelMask(*[None] * len(KernelMask._fields))


def kernel_mask(negative_mask: NegativeMask, limits: Tensor | None) -> KernelMask:
    """Return the negative mask of a chunk as kernels take it.

    Args:
        negative_mask: of the rows of the chunk.
        limits: (R,), the score of each row's positive and the margin; None without a margin.
    """
    if negative_mask is NOTHING_EXCLUDED:
        return NO_MASK
    mask = negative_mask.mask
    return KernelMask(
        query_groups=_contiguous(negative_mask.query_groups),
        passage_groups=_contiguous(negative_mask.passage_groups),
        query_passage_ids=_contiguous(negative_mask.query_passage_ids),
        passage_ids=_contiguous(negative_mask.passage_ids),
        mask=None if mask is None else mask.view(torch.uint8),
        mask_stride_r=None if mask is None else mask.stride(0),
        mask_stride_n=None if mask is None else mask.stride(1),
        excluded_columns=_bytes(negative_mask.excluded_columns),
        owners=_contiguous(negative_mask.owners),
        in_batch=_bytes(negative_mask.in_batch),
        limits=limits,
    )


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _bytes(flags: Tensor | None) -> Tensor | None:
    return None if flags is None else flags.contiguous().view(torch.uint8)


@triton.jit
def kept_negatives(
    b_s,  # scores; the shape of o_r and o_n together
    b_c,  # positives of the rows
    o_r,  # int64
    o_n,
    m,  # of o_r and o_n together
    m_r,
    m_n,
    negative_mask,  # KernelMask
):
    """Tell which columns are negatives of their row."""
    b_kept = m & (o_n != b_c)
    if negative_mask.query_groups is not None:
        b_row = tl.load(negative_mask.query_groups + o_r, mask=m_r, other=-1)
        b_column = tl.load(negative_mask.passage_groups + o_n, mask=m_n, other=-1)
        b_kept = b_kept & ((b_row != b_column) | (b_row == -1))
    if negative_mask.query_passage_ids is not None:
        b_row = tl.load(negative_mask.query_passage_ids + o_r, mask=m_r, other=-1)
        b_column = tl.load(negative_mask.passage_ids + o_n, mask=m_n, other=-1)
        b_kept = b_kept & ((b_row != b_column) | (b_row == -1))
    if negative_mask.mask is not None:
        p_mask = negative_mask.mask + o_r * negative_mask.mask_stride_r
        p_mask += o_n.to(tl.int64) * negative_mask.mask_stride_n
        b_kept = b_kept & (tl.load(p_mask, mask=m, other=1) == 0)
    if negative_mask.excluded_columns is not None:
        b_kept = b_kept & (tl.load(negative_mask.excluded_columns + o_n, mask=m_n, other=1) == 0)
    if negative_mask.limits is not None or negative_mask.in_batch is not None:
        # Both rules as one limit of scores: a condition for each takes more registers, and spills.
        b_limit = float("inf")
        if negative_mask.limits is not None:
            b_limit = tl.load(negative_mask.limits + o_r, mask=m_r, other=0)
        if negative_mask.in_batch is not None:
            b_in = tl.load(negative_mask.in_batch + o_r, mask=m_r, other=0) != 0
            b_limit = tl.where(b_in, b_limit, float("-inf"))
        if negative_mask.owners is not None:
            # Chosen for the row: neither rule leaves it out.
            b_owner = tl.load(negative_mask.owners + o_n, mask=m_n, other=-1).to(tl.int32)
            b_limit = tl.where(b_owner == o_r.to(tl.int32), float("inf"), b_limit)
        b_kept = b_kept & ~(b_s > b_limit)  # what is not a number stays, and makes the loss so
    return b_kept


@triton.jit
def of_other_direction(
    b_l,  # logits; the shape of o_r and others
    o_r,  # int64
    m_r,
    negative_mask,  # KernelMask
):
    """Return logits for passages against queries: of rows that take no part in it -infinity."""
    if negative_mask.in_batch is not None:
        b_in = tl.load(negative_mask.in_batch + o_r, mask=m_r, other=0) != 0
        # Added, since a comparison for each entry takes more registers.
        b_l = b_l + tl.where(b_in, 0.0, float("-inf"))
    return b_l


@triton.jit
def share_in_other_direction(
    o_r,  # int64
    m_r,
    negative_mask,  # KernelMask
):
    """Return 1 for rows that take part in passages against queries, 0 for others."""
    if negative_mask.in_batch is not None:
        return tl.load(negative_mask.in_batch + o_r, mask=m_r, other=0).to(tl.float32)
    else:
        return 1.0
