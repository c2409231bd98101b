"""Triton kernels that compute scores tile by tile and never write them.

Each computes a tile of Q P^T with float32 sums, on tensor cores, and masks it; what leaves the chip
are maxima and sums of the tile's rows and columns, or W in half precision. One part of the tile's
columns is masked after another, and each part ends with a store, across which the compiler moves no
load: the ids of all parts at once would overflow the registers.

Names as in `row_kernels`; besides D the dimension, BLOCK_D the part of it in one step.
Embeddings are contiguous, 16 divides D. Sizes of 1 come as constants, which have no methods.
No atomics: each tile has its own place for its sums, which `merge_sums_kernel` adds up in a fixed
order.
"""

# What kernels take are pointers and numbers of the compiler, which have no types here.
# ruff: noqa: ANN001, ANN201
# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
import triton
import triton.language as tl

from hybrid_fast.ops.backends.triton_mask import kept_negatives, of_other_direction

MOST_HALVINGS = tl.constexpr(8)  # of a tile's columns


@triton.jit
def place_of_tile(i, R, N, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, GROUP: tl.constexpr):
    """Return which rows and columns of tiles the i-th tile has.

    GROUP tiles below one another come before the next column, so that passages stay in the cache.
    """
    tiles_r, tiles_n = tl.cdiv(R, BLOCK_R), tl.cdiv(N, BLOCK_N)
    first = i // (GROUP * tiles_n) * GROUP
    height = tl.minimum(tiles_r - first, GROUP)
    i_in_group = i % (GROUP * tiles_n)
    return first + i_in_group % height, i_in_group // height


@triton.jit
def tiles_of_program(flag, R, N, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr):
    """Return the range of tiles of this program: first, end and step.

    Without a flag (None) it has one. With one the programs share all tiles, so that few start where
    the flag is 0, and none has anything to do.
    """
    if flag is None:
        return tl.program_id(0), tl.program_id(0) + 1, 1
    else:
        num_tiles = tl.cdiv(R, BLOCK_R) * tl.cdiv(N, BLOCK_N)
        return tl.program_id(0), tl.where(tl.load(flag) == 0, 0, num_tiles), tl.num_programs(0)


@triton.jit
def score_tile(
    queries,
    passages,
    o_r,  # [BLOCK_R], rows of queries
    o_n,  # [BLOCK_N], rows of passages
    D,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EVEN_D: tl.constexpr,
):
    """Return the scores [BLOCK_R, BLOCK_N] of some queries and passages, float32.

    A score is bitwise identical in every tile that holds it.
    """
    o_d = tl.arange(0, BLOCK_D)
    p_q = queries + o_r.to(tl.int64)[:, None] * D + o_d[None, :]
    p_p = passages + o_n.to(tl.int64)[None, :] * D + o_d[:, None]
    b_s = tl.zeros([BLOCK_R, BLOCK_N], tl.float32)
    for i_d in range(0, D, BLOCK_D):
        if EVEN_D:
            b_q, b_p = tl.load(p_q), tl.load(p_p)
        else:
            m_d = o_d < D - i_d
            b_q = tl.load(p_q, mask=m_d[None, :], other=0)
            b_p = tl.load(p_p, mask=m_d[:, None], other=0)
        b_s = tl.dot(b_q, b_p, b_s)
        p_q += BLOCK_D
        p_p += BLOCK_D
    return b_s


@triton.jit
def positive_scores_kernel(
    queries,
    passages,
    scores,  # (R,)
    positives,
    R,
    D,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EVEN_D: tl.constexpr,
):
    """Compute the score of each row's positive; grid (R / min(BLOCK_R, BLOCK_N),).

    The diagonal of a tile of the rows and their positives: a plain dot product would not be bitwise
    identical with the other kernels' scores, and a copy of the positive could score above it.
    """
    LENGTH: tl.constexpr = min(BLOCK_R, BLOCK_N)  # of the diagonal
    i_r = tl.program_id(0) * LENGTH
    o_r = i_r + tl.arange(0, BLOCK_R)
    o_n = i_r + tl.arange(0, BLOCK_N)
    b_c = tl.load(positives + tl.minimum(o_n, R - 1))
    b_s = score_tile(
        queries, passages, tl.minimum(o_r, R - 1), b_c, D, BLOCK_R, BLOCK_N, BLOCK_D,
        EVEN_D,
    )  # fmt: skip
    b_positive = tl.sum(tl.where(o_r[:, None] == o_n[None, :], b_s, 0), axis=1)
    tl.store(scores + o_r, b_positive, mask=o_r < tl.minimum(R, i_r + LENGTH))


@triton.jit
def part_of_tile(b_s, i_part: tl.constexpr, NUM_PARTS: tl.constexpr):
    """Return the columns of one part of a tile; NUM_PARTS is a power of 2."""
    for i_half in tl.static_range(MOST_HALVINGS):
        if NUM_PARTS >> i_half > 1:
            b_halves = tl.reshape(b_s, (b_s.shape[0], 2, b_s.shape[1] // 2))
            b_left, b_right = tl.split(tl.permute(b_halves, (0, 2, 1)))
            if (i_part << (i_half + 1)) // NUM_PARTS % 2 == 0:
                b_s = b_left
            else:
                b_s = b_right
    return b_s


@triton.jit
def tile_sums_kernel(
    queries,
    passages,
    row_maxima,  # (parts of N, R), largest logits
    row_sums,  # likewise, sums of exponentials relative to them
    column_maxima,  # (R / BLOCK_R, N); None: one direction
    column_sums,
    positives,
    logit_scale,
    negative_mask,  # KernelMask
    flag,  # int32 (1,), see `tiles_of_program`
    R,
    N,
    D,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EVEN_D: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Sum the exponentials of a tile's negatives, by rows and by columns."""
    b_logit_scale = tl.load(logit_scale)
    PART: tl.constexpr = BLOCK_N // NUM_PARTS
    i_first, i_end, step = tiles_of_program(flag, R, N, BLOCK_R, BLOCK_N)
    for i_tile in range(i_first, i_end, step):
        i_r, i_n = place_of_tile(i_tile, R, N, BLOCK_R, BLOCK_N, GROUP)
        o_r, o_n = i_r * BLOCK_R + tl.arange(0, BLOCK_R), i_n * BLOCK_N + tl.arange(0, BLOCK_N)
        b_tile = score_tile(
            queries, passages, tl.minimum(o_r, R - 1), tl.minimum(o_n, N - 1), D, BLOCK_R, BLOCK_N,
            BLOCK_D, EVEN_D,
        )  # fmt: skip
        m_r = o_r < R
        b_c = tl.load(positives + o_r, mask=m_r, other=-1).to(tl.int32)[:, None]
        for i_part in tl.static_range(NUM_PARTS):
            b_s = part_of_tile(b_tile, i_part, NUM_PARTS)
            o_n = i_n * BLOCK_N + i_part * PART + tl.arange(0, PART)
            m_n = o_n < N
            o_rows, m_rows = o_r.to(tl.int64)[:, None], m_r[:, None]
            o_columns, m_columns = o_n[None, :], m_n[None, :]
            m = m_rows & m_columns
            b_kept = kept_negatives(
                b_s, b_c, o_rows, o_columns, m, m_rows, m_columns, negative_mask
            )
            b_l = tl.where(b_kept, b_s * b_logit_scale, float("-inf"))
            b_max = tl.max(b_l, axis=1)
            # -inf - -inf, of a row without negatives here, would be NaN.
            b_from = tl.where(b_max == float("-inf"), 0, b_max)
            b_sum = tl.sum(tl.exp(b_l - b_from[:, None]), axis=1)
            o_part = (i_n * NUM_PARTS + i_part).to(tl.int64) * R + o_r
            tl.store(row_maxima + o_part, b_max, mask=m_r)
            tl.store(row_sums + o_part, b_sum, mask=m_r)
            if column_maxima is not None:
                b_l = of_other_direction(b_l, o_rows, m_rows, negative_mask)
                b_max = tl.max(b_l, axis=0)
                b_from = tl.where(b_max == float("-inf"), 0, b_max)
                b_sum = tl.sum(tl.exp(b_l - b_from[None, :]), axis=0)
                o_part = i_r.to(tl.int64) * N + o_n
                tl.store(column_maxima + o_part, b_max, mask=m_n)
                tl.store(column_sums + o_part, b_sum, mask=m_n)


@triton.jit
def merge_sums_kernel(
    maxima,  # (T, M), of `tile_sums_kernel`
    parts,  # likewise, its sums
    sums,  # (2, M), largest logits and sums, to which they are added
    flag,  # int32 (1,): unless it is set nothing is added; None: always
    T,
    M,
    BLOCK_T: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Add the sums of tiles to those of their rows or columns; grid (M / BLOCK_M,)."""
    o_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    m_m = o_m < M
    if flag is not None:
        T = tl.where(tl.load(flag) == 0, 0, T)
    b_max = tl.load(sums + o_m, mask=m_m, other=float("-inf"))
    b_sum = tl.load(sums + M + o_m, mask=m_m, other=0)
    for i_t in range(0, T, BLOCK_T):
        o_t = i_t + tl.arange(0, BLOCK_T)
        m = (o_t < T)[:, None] & m_m[None, :]
        o_parts = o_t.to(tl.int64)[:, None] * M + o_m[None, :]  # [BLOCK_T, BLOCK_M]
        b_maxima = tl.load(maxima + o_parts, mask=m, other=float("-inf"))
        b_parts = tl.load(parts + o_parts, mask=m, other=0)
        b_new = tl.maximum(b_max, tl.max(b_maxima, axis=0))
        b_from = tl.where(b_new == float("-inf"), 0, b_new)
        b_parts *= tl.exp(b_maxima - b_from[None, :])
        b_sum = b_sum * tl.exp(b_max - b_from) + tl.sum(b_parts, axis=0)
        b_max = b_new
    tl.store(sums + o_m, b_max, mask=m_m)
    tl.store(sums + M + o_m, b_sum, mask=m_m)


@triton.jit
def weights_kernel(
    queries,
    passages,
    gradient,  # W (R, N)
    grad_dot_logits,  # (parts of N, R), sum_j W_ij (logit_ij - lse_i) over the part's; None
    positives,
    coefficients,
    lse,  # (R,), log-sum-exp of the row
    grad_positives,  # (R,), W of the positive
    logit_scale,
    loss_scale,  # 0-dim, of W as written; None: 1
    column_lse,  # None: one direction
    column_coefficients,
    negative_mask,  # KernelMask
    flag,  # int32 (1,), see `tiles_of_program`
    stride_g,
    R,
    N,
    D,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EVEN_D: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Turn tiles of scores into the gradient of their logits.

    With columns grad_dot_logits includes that of the other direction, sum_j W'_ij logit_ij.
    """
    b_logit_scale = tl.load(logit_scale)
    PART: tl.constexpr = BLOCK_N // NUM_PARTS
    i_first, i_end, step = tiles_of_program(flag, R, N, BLOCK_R, BLOCK_N)
    for i_tile in range(i_first, i_end, step):
        i_r, i_n = place_of_tile(i_tile, R, N, BLOCK_R, BLOCK_N, GROUP)
        o_r, o_n = i_r * BLOCK_R + tl.arange(0, BLOCK_R), i_n * BLOCK_N + tl.arange(0, BLOCK_N)
        b_tile = score_tile(
            queries, passages, tl.minimum(o_r, R - 1), tl.minimum(o_n, N - 1), D, BLOCK_R, BLOCK_N,
            BLOCK_D, EVEN_D,
        )  # fmt: skip
        m_r = o_r < R
        b_c = tl.load(positives + o_r, mask=m_r, other=-1).to(tl.int32)[:, None]
        b_a = tl.load(coefficients + o_r, mask=m_r, other=0)[:, None]
        b_lse = tl.load(lse + o_r, mask=m_r, other=0)[:, None]
        b_positive_grad = tl.load(grad_positives + o_r, mask=m_r, other=0)[:, None]
        for i_part in tl.static_range(NUM_PARTS):
            b_s = part_of_tile(b_tile, i_part, NUM_PARTS)
            o_n = i_n * BLOCK_N + i_part * PART + tl.arange(0, PART)
            m_n = o_n < N
            o_rows, m_rows = o_r.to(tl.int64)[:, None], m_r[:, None]
            o_columns, m_columns = o_n[None, :], m_n[None, :]
            m = m_rows & m_columns
            b_kept = kept_negatives(
                b_s, b_c, o_rows, o_columns, m, m_rows, m_columns, negative_mask
            )
            b_l = b_s * b_logit_scale
            # Masked before exp, since excluded scores may be too large for it.
            b_w = tl.exp(tl.where(b_kept, b_l - b_lse, float("-inf"))) * b_a
            b_dot = b_w * (b_l - b_lse)
            if column_lse is not None:
                b_u = tl.load(column_lse + o_n, mask=m_n, other=float("inf"))[None, :]
                b_beta = tl.load(column_coefficients + o_n, mask=m_n, other=0)[None, :]
                b_rel = tl.where(b_kept, b_l - b_u, float("-inf"))
                b_column = tl.exp(of_other_direction(b_rel, o_rows, m_rows, negative_mask)) * b_beta
                b_dot += b_column * b_l
                b_w += b_column
            if grad_dot_logits is not None:
                p_dot = grad_dot_logits + (i_n * NUM_PARTS + i_part).to(tl.int64) * R + o_r
                tl.store(p_dot, tl.sum(b_dot, axis=1), mask=m_r)
            # `grad_positives` has its one-hot subtracted already: after rounding that would cost
            # all digits.
            b_w = tl.where(o_columns == b_c, b_positive_grad, b_w)
            if loss_scale is not None:
                b_w *= tl.load(loss_scale)
            p_gradient = gradient + o_rows * stride_g + o_columns
            tl.store(p_gradient, b_w.to(gradient.dtype.element_ty), mask=m)
