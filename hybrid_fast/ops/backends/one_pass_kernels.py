"""Triton kernels of the one-pass loss: exponentials straight from the product that makes scores.

    E_ij = exp(logit_ij - reference_i)        0 at the positive and where a column is excluded

in bfloat16 is all that is written of a chunk. Its sums, taken in float32 before rounding, give the
losses, and since 1 / sum is a factor of a whole row, E itself takes the place of W in the products
of the gradient. The positive comes back in float32, so a converged loss keeps its digits.

A row whose sum leaves [LEAST_SUM, LARGEST_SUM] sets the chunk's flag: its reference was too far
from its logits. Names as in `row_kernels` and `tile_kernels`. Deterministic: float sums have a
fixed order, and the atomics on row numbers have one result in any order.
"""

# What kernels take are pointers and numbers of the compiler, which have no types here.
# ruff: noqa: ANN001, ANN201
# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
import triton
import triton.language as tl

from hybrid_fast.ops.backends.row_kernels import log1p
from hybrid_fast.ops.backends.tile_kernels import part_of_tile, place_of_tile, score_tile
from hybrid_fast.ops.backends.triton_mask import kept_negatives, share_in_other_direction

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
# Below the least an exponential that was lost, below 2^-126, could count. The largest, of a row's
# sum times the length of passages, leaves room for E P and the factors after it.
LEAST_SUM = tl.constexpr(2.0**-100)
LARGEST_SUM = tl.constexpr(2.0**114)


@triton.jit
def references_kernel(
    queries,
    longest_passage,  # 0-dim, its length
    positive_scores,
    logit_scale,
    references,
    headroom,
    D,
    BLOCK_D: tl.constexpr,
):
    """Bound a row's logits from above by its reference and the headroom; grid (R,).

    Not below the positive, whose exponential is then at most 1.
    """
    i_r = tl.program_id(0).to(tl.int64)
    b_squares = tl.zeros([BLOCK_D], tl.float32)
    for i_d in range(0, D, BLOCK_D):
        o_d = i_d + tl.arange(0, BLOCK_D)
        b_q = tl.load(queries + i_r * D + o_d, mask=o_d < D, other=0).to(tl.float32)
        b_squares += b_q * b_q
    b_logit_scale = tl.load(logit_scale)
    b_bound = tl.sqrt(tl.sum(b_squares, axis=0)) * tl.load(longest_passage) * b_logit_scale
    # Of what has no finite bound the sums tell.
    b_bound = tl.where(b_bound < float("inf"), b_bound - headroom, float("-inf"))
    b_logit = tl.load(positive_scores + i_r) * b_logit_scale
    tl.store(references + i_r, tl.maximum(b_logit, b_bound))


@triton.jit
def exp_tiles_kernel(
    queries,  # (R, D), a pointer or a descriptor of [BLOCK_R, BLOCK_D]
    passages,  # (N, D), likewise
    exponentials,  # E (R, N), or a descriptor of a part of a tile; None: sums alone
    row_sums,  # (parts of N, R); None: E alone
    row_dots,  # likewise, sum_j E_ij (f_i (logit_ij - origin_i) + g_j logit_ij); None
    column_sums,  # (R / BLOCK_R, N), of the rows in the other direction; None
    row_factors,  # (R,), f_i: E becomes E_ij (f_i + g_j); None
    column_factors,  # (N,), g_j, of the other direction
    origins,  # (R,), logits
    references,  # (R,), logits
    positives,
    logit_scale,
    flag,  # int32 (1,): nothing to do if it is set; None
    negative_mask,  # KernelMask
    stride_e,
    R,
    N,
    D,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    EVEN_D: tl.constexpr,
    NUM_PARTS: tl.constexpr,
    GROUP: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    FLATTEN: tl.constexpr,  # loads of the next tile begin early, which takes registers
):
    """Compute E and its sums tile by tile; any number of programs share the tiles."""
    PART: tl.constexpr = BLOCK_N // NUM_PARTS
    b_logit_scale = tl.load(logit_scale)
    num_tiles = tl.cdiv(R, BLOCK_R) * tl.cdiv(N, BLOCK_N)
    if flag is not None:
        num_tiles = tl.where(tl.load(flag) == 0, num_tiles, 0)
    for i_tile in tl.range(tl.program_id(0), num_tiles, tl.num_programs(0), flatten=FLATTEN):
        i_r, i_n = place_of_tile(i_tile, R, N, BLOCK_R, BLOCK_N, GROUP)
        o_r, o_n = i_r * BLOCK_R + tl.arange(0, BLOCK_R), i_n * BLOCK_N + tl.arange(0, BLOCK_N)
        if DESCRIPTORS:
            b_tile = tl.zeros([BLOCK_R, BLOCK_N], tl.float32)
            for i_d in range(0, D, BLOCK_D):
                b_q, b_p = queries.load([i_r * BLOCK_R, i_d]), passages.load([i_n * BLOCK_N, i_d])
                b_tile = tl.dot(b_q, b_p.T, b_tile)
        else:
            b_tile = score_tile(
                queries, passages, tl.minimum(o_r, R - 1), tl.minimum(o_n, N - 1), D, BLOCK_R,
                BLOCK_N, BLOCK_D, EVEN_D,
            )  # fmt: skip
        m_r = o_r < R
        o_rows, m_rows = o_r.to(tl.int64)[:, None], m_r[:, None]
        b_c = tl.load(positives + o_r, mask=m_r, other=-1).to(tl.int32)[:, None]
        b_reference = tl.load(references + o_r, mask=m_r, other=0)[:, None] * LOG2_E
        for i_part in tl.static_range(NUM_PARTS):
            b_s = part_of_tile(b_tile, i_part, NUM_PARTS)
            o_n = i_n * BLOCK_N + i_part * PART + tl.arange(0, PART)
            m_n = o_n < N
            o_columns, m_columns = o_n[None, :], m_n[None, :]
            m = m_rows & m_columns
            b_kept = kept_negatives(
                b_s, b_c, o_rows, o_columns, m, m_rows, m_columns, negative_mask
            )
            # Masked before exp2, since excluded scores may be too large for it.
            b_rel = tl.fma(b_s, b_logit_scale * LOG2_E, -b_reference)
            b_e = tl.exp2(tl.where(b_kept, b_rel, float("-inf")))
            o_part = (i_n * NUM_PARTS + i_part).to(tl.int64) * R + o_r
            if row_sums is not None:
                tl.store(row_sums + o_part, tl.sum(b_e, axis=1), mask=m_r)
            if column_sums is not None:
                b_shared = b_e * share_in_other_direction(o_rows, m_rows, negative_mask)
                p_sums = column_sums + i_r.to(tl.int64) * N + o_n
                tl.store(p_sums, tl.sum(b_shared, axis=0), mask=m_n)
            b_f, b_g = 1.0, 0.0
            if row_factors is not None:
                b_f = tl.load(row_factors + o_r, mask=m_r, other=0)[:, None]
                b_g = tl.load(column_factors + o_n, mask=m_n, other=0)[None, :]
                b_g *= share_in_other_direction(o_rows, m_rows, negative_mask)
            if row_dots is not None:
                b_origin = tl.load(origins + o_r, mask=m_r, other=0)[:, None]
                b_l = b_s * b_logit_scale
                b_dot = b_e * (b_f * (b_l - b_origin) + b_g * b_l)
                tl.store(row_dots + o_part, tl.sum(b_dot, axis=1), mask=m_r)
            b_e *= b_f + b_g
            if exponentials is not None:
                b_e = b_e.to(tl.bfloat16)
                if DESCRIPTORS:
                    exponentials.store([i_r * BLOCK_R, i_n * BLOCK_N + i_part * PART], b_e)
                else:
                    tl.store(exponentials + o_rows * stride_e + o_columns, b_e, mask=m)


@triton.jit
def sum_of_parts(parts, o_r, m_r, T, R, BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr):
    """Return the sums [BLOCK_R] of (T, R), in a fixed order."""
    b_sum = tl.zeros([BLOCK_R], tl.float32)
    for i_t in range(0, T, BLOCK_T):
        o_t = i_t + tl.arange(0, BLOCK_T)
        m = (o_t < T)[:, None] & m_r[None, :]
        o_parts = o_t.to(tl.int64)[:, None] * R + o_r[None, :]
        b_sum += tl.sum(tl.load(parts + o_parts, mask=m, other=0), axis=0)
    return b_sum


@triton.jit
def finish_rows_kernel(
    row_sums,  # (T, R)
    row_dots,  # (T, R); None
    positive_scores,
    references,
    longest_passage,  # 0-dim, its length
    coefficients,
    logit_scale,
    losses,
    factors,  # (R,), a_i / l_i with l_i the row's sum
    dots,  # (R,), a_i / l_i times the sum of `row_dots`; None
    flag,  # int32 (1,), set where a sum is out of reach
    T,
    R,
    BLOCK_T: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Turn the sums of a chunk's rows into losses and factors; grid (R / BLOCK_R,)."""
    o_r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    m_r = o_r < R
    b_negatives = sum_of_parts(row_sums, o_r, m_r, T, R, BLOCK_T, BLOCK_R)
    b_s = tl.load(positive_scores + o_r, mask=m_r, other=0)
    b_reference = tl.load(references + o_r, mask=m_r, other=0) * LOG2_E
    # As of the others, so that what references lose by rounding is lost alike.
    b_rel = tl.fma(b_s, tl.load(logit_scale) * LOG2_E, -b_reference)
    b_positive = tl.exp2(b_rel)
    b_total = b_negatives + b_positive
    # What is not a number is not within, either.
    b_largest = LARGEST_SUM / tl.maximum(tl.load(longest_passage), 1.0)
    b_within = (b_total >= LEAST_SUM) & (b_total <= b_largest)
    tl.store(flag, 1, mask=tl.sum((m_r & ~b_within).to(tl.int32), axis=0) > 0)
    b_total = tl.where(b_within, b_total, 1)
    # A positive that is far below has no exponential to divide by.
    b_leads = b_negatives <= b_positive
    b_ratio = tl.where(b_leads, b_negatives, 0) / tl.maximum(b_positive, LEAST_SUM)
    b_loss = tl.where(b_leads, log1p(b_ratio), tl.log(b_total) - b_rel * LN_2)
    tl.store(losses + o_r, b_loss, mask=m_r)
    b_factor = tl.load(coefficients + o_r, mask=m_r, other=0) / b_total
    tl.store(factors + o_r, b_factor, mask=m_r)
    if dots is not None:
        b_dot = sum_of_parts(row_dots, o_r, m_r, T, R, BLOCK_T, BLOCK_R)
        tl.store(dots + o_r, b_factor * b_dot, mask=m_r)


@triton.jit
def weigh_kernel(
    exponentials,  # E (R, N)
    row_factors,
    column_factors,
    negative_mask,  # KernelMask
    flag,  # int32 (1,): nothing to do if it is set
    stride_e,
    R,
    N,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Multiply E_ij by f_i + g_j in place; any number of programs share the tiles."""
    tiles_n = tl.cdiv(N, BLOCK_N)
    num_tiles = tl.where(tl.load(flag) == 0, tl.cdiv(R, BLOCK_R) * tiles_n, 0)
    for i_tile in range(tl.program_id(0), num_tiles, tl.num_programs(0)):
        o_r = (i_tile // tiles_n * BLOCK_R + tl.arange(0, BLOCK_R)).to(tl.int64)[:, None]
        o_n = (i_tile % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N))[None, :]
        m_r, m_n = o_r < R, o_n < N
        b_f = tl.load(row_factors + o_r, mask=m_r, other=0)
        b_g = tl.load(column_factors + o_n, mask=m_n, other=0)
        b_g *= share_in_other_direction(o_r, m_r, negative_mask)
        p_e = exponentials + o_r * stride_e + o_n
        b_e = tl.load(p_e, mask=m_r & m_n, other=0).to(tl.float32)
        tl.store(p_e, (b_e * (b_f + b_g)).to(tl.bfloat16), mask=m_r & m_n)


@triton.jit
def query_gradient_kernel(
    gradient,  # (R, D), E P; dQ in its place
    passages,  # (N, D)
    factors,  # (R,); None: E has them
    rests,  # (R,)
    positives,
    logit_scale,
    D,
    BLOCK_D: tl.constexpr,
):
    """Scale the rows of E P and add the positives; grid (R,)."""
    i_r = tl.program_id(0).to(tl.int64)
    b_logit_scale = tl.load(logit_scale)
    b_factor = b_logit_scale
    if factors is not None:
        b_factor *= tl.load(factors + i_r)
    b_rest = tl.load(rests + i_r) * b_logit_scale
    gradient += i_r * D
    passages += tl.load(positives + i_r) * D
    for i_d in range(0, D, BLOCK_D):
        o_d = i_d + tl.arange(0, BLOCK_D)
        b_g = tl.load(gradient + o_d, mask=o_d < D, other=0) * b_factor
        b_p = tl.load(passages + o_d, mask=o_d < D, other=0).to(tl.float32)
        tl.store(gradient + o_d, b_g + b_rest * b_p, mask=o_d < D)


@triton.jit
def scaled_queries_kernel(queries, factors, scale, scaled, D, BLOCK_D: tl.constexpr):
    """Write scale factor_i q_i as bfloat16; grid (R,)."""
    i_r = tl.program_id(0).to(tl.int64)
    b_factor = tl.load(factors + i_r) * tl.load(scale)
    for i_d in range(0, D, BLOCK_D):
        o_d = i_d + tl.arange(0, BLOCK_D)
        b_q = tl.load(queries + i_r * D + o_d, mask=o_d < D, other=0).to(tl.float32)
        tl.store(scaled + i_r * D + o_d, (b_q * b_factor).to(tl.bfloat16), mask=o_d < D)


@triton.jit
def rows_of_columns_kernel(positives, ends, R, N, BLOCK: tl.constexpr):
    """Note the first and the last row of each positive column; grid (R / BLOCK,).

    ends: int32 (2, N), initially 0: R minus the first row, the last row plus 1.
    """
    o_r = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    m_r = o_r < R
    b_c = tl.load(positives + o_r, mask=m_r, other=0)
    tl.atomic_max(ends + b_c, R - o_r, mask=m_r)
    tl.atomic_max(ends + N + b_c, o_r + 1, mask=m_r)


@triton.jit
def add_positives_kernel(
    total,  # (N, D), the sum of E^T Q times the scale
    queries,
    rests,
    positives,
    scale,  # 0-dim; None: 1
    ends,  # see `rows_of_columns_kernel`
    R,
    N,
    D,
    BLOCK_D: tl.constexpr,
    BLOCK_R: tl.constexpr,
):
    """Add scale rest_i q_i to the column of each row's positive, rows in order; grid (R,).

    The first row of a column adds those of all its rows.
    """
    i_r = tl.program_id(0)
    b_c = tl.load(positives + i_r)
    if tl.load(ends + b_c) == R - i_r:
        i_end = tl.load(ends + N + b_c)
        b_scale = 1.0
        if scale is not None:
            b_scale = tl.load(scale)
        for i_d in range(0, D, BLOCK_D):
            o_d = i_d + tl.arange(0, BLOCK_D)
            m_d = o_d < D
            p_total = total + b_c * D + o_d
            b_total = tl.load(p_total, mask=m_d, other=0)
            for i_block in range(i_r, i_end, BLOCK_R):
                o_r = i_block + tl.arange(0, BLOCK_R)
                b_same = tl.load(positives + o_r, mask=o_r < i_end, other=-1) == b_c
                for _ in range(tl.sum(b_same.to(tl.int32), axis=0)):
                    i_next = tl.min(tl.where(b_same, o_r, i_end), axis=0).to(tl.int64)
                    b_q = tl.load(queries + i_next * D + o_d, mask=m_d, other=0).to(tl.float32)
                    b_total += tl.load(rests + i_next) * b_scale * b_q
                    b_same = b_same & (o_r != i_next)
            tl.store(p_total, b_total, mask=m_d)


@triton.jit
def rescale_kernel(total, ratio, SIZE, BLOCK: tl.constexpr):
    """Multiply all of `total` by `ratio`, which most often is 1: then nothing is to do."""
    b_ratio = tl.load(ratio)
    num_blocks = tl.where(b_ratio == 1, 0, tl.cdiv(SIZE, BLOCK))
    for i in range(tl.program_id(0), num_blocks, tl.num_programs(0)):
        o = i * tl.full([], BLOCK, tl.int64) + tl.arange(0, BLOCK)
        b_total = tl.load(total + o, mask=o < SIZE, other=0)
        tl.store(total + o, b_total * b_ratio, mask=o < SIZE)
