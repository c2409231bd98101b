"""Triton kernels of the chunked loss: from the scores of a chunk of rows to what `chunked` needs.

Names: R rows of the chunk, N columns; i_ program ids, o_ offsets, m_ masks, b_ block values;
BLOCK_R, BLOCK_N block sizes; stride_s, stride_g of scores and gradient.

Deterministic: no atomics, every sum in a fixed order. Sums have the dtype of the scores, float32 or
float64.
"""

# What kernels take are pointers and numbers of the compiler, which have no types here.
# ruff: noqa: ANN001, ANN201
# mypy: disallow-untyped-defs=false, disallow-incomplete-defs=false
import triton
import triton.language as tl

from hybrid_fast.ops.backends.triton_mask import kept_negatives, of_other_direction


@triton.jit
def scalar(x):
    """Return a number, which comes as such or by its address."""
    # Triton's interpreter leaves numbers to Python.
    if not isinstance(x, float) and x.dtype.is_ptr():
        x = tl.load(x)
    return x


@triton.jit
def coefficients_of(coefficients, o_r, m_r):
    """Return the coefficients of rows, one number for all of them or the address of the first."""
    if not isinstance(coefficients, float) and coefficients.dtype.is_ptr():
        coefficients = tl.load(coefficients + o_r, mask=m_r, other=0)
    return coefficients


@triton.jit
def log1p(x):
    """Return log(1 + x) for x >= 0, to a few units in the last place."""
    # log(u) loses what 1 + x loses by rounding, so their ratio is right (Kahan).
    b_u = 1 + x
    b_rounded = tl.where(b_u == 1, 1, b_u - 1)
    return tl.where(b_u == 1, x, tl.log(b_u) * (x / b_rounded))


@triton.jit
def contrast_rows_kernel(
    scores,
    gradient,  # None: losses alone; may be `scores`
    losses,
    grad_dot_logits,  # None: not needed
    positives,  # None: that of row i is column i
    coefficients,  # a number for all rows, or the address of the first
    logit_scale,  # a number or its address
    loss_scale,  # times W as written, a number or its address; None: it is W / t that is
    column_lse,  # None: one direction
    column_coefficients,
    negative_mask,  # KernelMask
    stride_s,
    stride_g,
    R,
    N,
    BLOCK_N: tl.constexpr,
):
    """Turn one row of scores into its loss and the gradient of its logits; grid (R,).

    One long body, since a helper would have to take and return the whole state of the row.
    """
    i_r = tl.program_id(0).to(tl.int64)
    m_r = i_r < R
    scores += i_r * stride_s
    b_c = i_r
    if positives is not None:
        b_c = tl.load(positives + i_r)
    b_logit_scale = scalar(logit_scale)
    b_pos = tl.load(scores + b_c)

    b_max = tl.full([], float("-inf"), scores.dtype.element_ty)
    b_sum = tl.zeros([BLOCK_N], scores.dtype.element_ty)
    for i_n in range(0, N, BLOCK_N):
        o_n = i_n + tl.arange(0, BLOCK_N)
        m_n = o_n < N
        b_s = tl.load(scores + o_n, mask=m_n, other=0)
        b_kept = kept_negatives(b_s, b_c, i_r, o_n, m_n, m_r, m_n, negative_mask)
        b_s = tl.where(b_kept, b_s, float("-inf"))
        b_new = tl.maximum(b_max, tl.max(b_s, axis=0))
        # -inf - -inf, of a row without negatives so far, would be NaN.
        b_from = tl.where(b_new == float("-inf"), 0, b_new)
        b_rescale = tl.exp((b_max - b_from) * b_logit_scale)
        b_sum = b_sum * b_rescale + tl.exp((b_s - b_from) * b_logit_scale)
        b_max = b_new

    # Relative to the larger exponential, so that the smaller one keeps all its digits.
    b_top = tl.maximum(b_max, b_pos)
    b_rest = tl.sum(b_sum, axis=0) * tl.exp((b_max - b_top) * b_logit_scale)
    b_total = b_rest + tl.exp((b_pos - b_top) * b_logit_scale)
    b_ahead = (b_max - b_pos) * b_logit_scale
    b_loss = tl.where(b_ahead <= 0, log1p(b_rest), b_ahead + tl.log(b_total))

    if gradient is not None:
        gradient += i_r * stride_g
        b_a = coefficients_of(coefficients, i_r, m_r)
        b_positive_grad = -b_a * (b_rest / b_total)
        b_factor = b_a / b_total
        b_scale = b_logit_scale
        if loss_scale is not None:
            b_scale = scalar(loss_scale)
        b_dot = tl.zeros([BLOCK_N], scores.dtype.element_ty)
        b_positive_dot = tl.zeros([], scores.dtype.element_ty)
        if column_lse is not None:
            b_logit = b_pos * b_logit_scale
            b_positive_u = tl.load(column_lse + b_c)
            # Infinity: no row in the sum, so the positive has no negatives.
            b_behind = tl.where(b_positive_u < float("inf"), b_positive_u - b_logit, float("-inf"))
            b_behind = of_other_direction(b_behind, i_r, m_r, negative_mask)
            b_small = tl.exp(-tl.abs(b_behind))
            b_sigmoid = tl.where(b_behind >= 0, 1.0, b_small) / (1 + b_small)
            b_loss += tl.maximum(b_behind, 0) + log1p(b_small)
            b_positive_grad -= b_a * b_sigmoid
            b_positive_dot -= b_a * b_sigmoid * b_logit
        for i_n in range(0, N, BLOCK_N):
            o_n = i_n + tl.arange(0, BLOCK_N)
            m_n = o_n < N
            b_s = tl.load(scores + o_n, mask=m_n, other=0)
            b_kept = kept_negatives(b_s, b_c, i_r, o_n, m_n, m_r, m_n, negative_mask)
            # Masked before exp, since excluded scores may be too large for it.
            b_rel = (b_s - b_top) * b_logit_scale
            b_w = tl.exp(tl.where(b_kept, b_rel, float("-inf"))) * b_factor
            # A row of W sums to 0, so any logit may be subtracted; the positive's loses least.
            b_dot += b_w * ((b_s - b_pos) * b_logit_scale)
            if column_lse is not None:
                b_logits = b_s * b_logit_scale
                b_u = tl.load(column_lse + o_n, mask=m_n, other=float("inf"))
                b_beta = tl.load(column_coefficients + o_n, mask=m_n, other=0)
                b_rel = tl.where(b_kept, b_logits - b_u, float("-inf"))
                b_rel = of_other_direction(b_rel, i_r, m_r, negative_mask)
                b_column = tl.exp(b_rel) * b_beta
                b_dot += b_column * b_logits
                b_w += b_column
            # b_positive_grad has its one-hot subtracted already: after rounding that would cost all
            # digits.
            b_w = tl.where(o_n == b_c, b_positive_grad, b_w) * b_scale
            tl.store(gradient + o_n, b_w.to(gradient.dtype.element_ty), mask=m_n)
        if grad_dot_logits is not None:
            tl.store(grad_dot_logits + i_r, b_positive_dot + tl.sum(b_dot, axis=0))
    tl.store(losses + i_r, b_loss)


@triton.jit
def add_column_sums_kernel(
    scores,
    sums,  # (2, N): largest logits, sums of exponentials relative to them
    positives,  # None: that of row i is column i
    logit_scale,  # a number or its address
    negative_mask,  # KernelMask
    stride_s,
    R,
    N,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Add the rows of a chunk to the sums of their negatives' columns; grid (N / BLOCK_N,)."""
    o_n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    m_n = o_n < N
    o_columns, m_columns = o_n[None, :], m_n[None, :]
    b_logit_scale = scalar(logit_scale)
    b_max = tl.load(sums + o_n, mask=m_n, other=float("-inf"))
    b_sum = tl.load(sums + N + o_n, mask=m_n, other=0)
    for i_r in range(0, R, BLOCK_R):
        o_r = (i_r + tl.arange(0, BLOCK_R)).to(tl.int64)[:, None]
        m_r = o_r < R
        b_c = o_r  # [BLOCK_R, 1]
        if positives is not None:
            b_c = tl.load(positives + o_r, mask=m_r, other=-1)
        m = m_r & m_columns
        b_s = tl.load(scores + o_r * stride_s + o_columns, mask=m, other=0)  # [BLOCK_R, BLOCK_N]
        b_kept = kept_negatives(b_s, b_c, o_r, o_columns, m, m_r, m_columns, negative_mask)
        b_l = tl.where(b_kept, b_s * b_logit_scale, float("-inf"))
        b_l = of_other_direction(b_l, o_r, m_r, negative_mask)
        b_new = tl.maximum(b_max, tl.max(b_l, axis=0))
        b_from = tl.where(b_new == float("-inf"), 0, b_new)
        b_sum = b_sum * tl.exp(b_max - b_from) + tl.sum(tl.exp(b_l - b_from[None, :]), axis=0)
        b_max = b_new
    tl.store(sums + o_n, b_max, mask=m_n)
    tl.store(sums + N + o_n, b_sum, mask=m_n)


@triton.jit
def lse_of(sums, o_n, m_n, N):
    """Return the log-sum-exp of columns; -infinity where no row is in the sum."""
    b_max = tl.load(sums + o_n, mask=m_n, other=0)
    b_sum = tl.load(sums + N + o_n, mask=m_n, other=0)
    b_lse = b_max + tl.log(tl.where(b_sum == 0, 1, b_sum))
    return tl.where(b_sum == 0, float("-inf"), b_lse)


@triton.jit
def column_terms_kernel(
    sums,  # (2, N), over all rows
    logits,  # (R,), of the positives
    positives,  # None: that of row i is column i
    coefficients,  # a number for all rows, or the address of the first
    in_batch,  # uint8 (R,); None: all 1
    column_lse,
    column_coefficients,
    gaps,
    R,
    N,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Compute `Kernels.column_terms` of BLOCK_N columns, and of rows whose positive is one of them.

    Grid (N / BLOCK_N,).
    """
    i_n = tl.program_id(0) * BLOCK_N
    o_n = i_n + tl.arange(0, BLOCK_N)
    m_n = o_n < N
    b_u = lse_of(sums, o_n, m_n, N)
    tl.store(column_lse + o_n, tl.where(b_u == float("-inf"), float("inf"), b_u), mask=m_n)
    b_sum = tl.zeros([BLOCK_N], sums.dtype.element_ty)
    for i_r in range(0, R, BLOCK_R):
        o_r = i_r + tl.arange(0, BLOCK_R)
        b_c = tl.where(o_r < R, o_r, -1)
        if positives is not None:
            b_c = tl.load(positives + o_r, mask=o_r < R, other=-1)
        m_r = (b_c >= i_n) & (b_c < i_n + BLOCK_N) & (b_c < N)
        if tl.max(m_r.to(tl.int32), axis=0) > 0:  # most rows have their positive elsewhere
            b_gap = lse_of(sums, b_c, m_r, N) - tl.load(logits + o_r, mask=m_r, other=0)
            if in_batch is not None:
                b_in = tl.load(in_batch + o_r, mask=m_r, other=0) != 0
                b_gap = tl.where(b_in, b_gap, float("-inf"))
            b_small = tl.exp(-tl.abs(b_gap))
            b_sigmoid = tl.where(b_gap >= 0, 1.0, b_small) / (1 + b_small)
            b_beta = coefficients_of(coefficients, o_r, m_r) * b_sigmoid
            tl.store(gaps + o_r, b_gap, mask=m_r)
            m = m_r[:, None] & (b_c[:, None] == o_n[None, :])
            b_sum += tl.sum(tl.where(m, b_beta[:, None], 0), axis=0)
    tl.store(column_coefficients + o_n, b_sum, mask=m_n)
