"""The mended interpreter computes as a GPU does: torch gives what is expected.

Run by test_triton_kernels.py, which sets it up.
"""

import math

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError
from triton.tools.tensor_descriptor import TensorDescriptor
from triton_arithmetic import mend

DTYPES = [torch.bfloat16, torch.float16, torch.float32]
EVERY_BFLOAT16 = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)


@pytest.fixture(autouse=True)
def mended(monkeypatch):
    mend(monkeypatch)


def random(*shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def bits(values):
    return values.nan_to_num(nan=math.pi).view({2: torch.int16, 4: torch.int32}[values.itemsize])


@triton.jit
def convert_kernel(values, out, SIZE: tl.constexpr):
    o = tl.arange(0, SIZE)
    tl.store(out + o, tl.load(values + o).to(out.dtype.element_ty))


def converted(values, dtype):
    out = torch.empty(values.shape, dtype=dtype)
    convert_kernel[(1,)](values, out, len(values))
    return out


def test_every_bfloat16_becomes_the_same_float32():
    assert torch.equal(bits(converted(EVERY_BFLOAT16, torch.float32)), bits(EVERY_BFLOAT16.float()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
def test_numbers_round_to_the_nearest_bfloat16(dtype):
    """Between two of them, at the middle, where the even one is taken, and next to it."""
    low, high = (
        EVERY_BFLOAT16[first : first + 2**14].float().to(dtype) for first in (2**13, 2**13 + 1)
    )
    for part in (0, 0.25, 0.5, 0.5001, 0.75):
        values = low + (high - low) * part
        assert torch.equal(bits(converted(values, torch.bfloat16)), bits(values.bfloat16()))


def test_the_ends_of_float32_round_as_well():
    ends = [0.0, -0.0, math.inf, -math.inf, math.nan, 3.4e38, -3.4e38, 3.38e38, 1e-39, -1e-45, 1, 2]
    values = torch.tensor([*ends, *range(4)])
    assert torch.equal(bits(converted(values, torch.bfloat16)), bits(values.bfloat16()))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_integers_and_bfloat16(dtype):
    numbers = torch.arange(-512, 512, dtype=dtype) * 3
    assert torch.equal(converted(numbers, torch.bfloat16), numbers.bfloat16())
    assert torch.equal(converted(numbers.bfloat16(), dtype), numbers.bfloat16().to(dtype))


@triton.jit
def arithmetic_kernel(a, b, sums, products, quotients, larger, negatives, SIZE: tl.constexpr):
    o = tl.arange(0, SIZE)
    b_a, b_b = tl.load(a + o), tl.load(b + o)
    tl.store(sums + o, b_a + b_b)
    tl.store(products + o, b_a * b_b)
    tl.store(quotients + o, b_a / b_b)
    tl.store(larger + o, tl.where(b_a > b_b, b_a, b_b))
    tl.store(negatives + o, -b_a)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arithmetic(dtype):
    a, b = random(512, dtype=dtype), random(512, dtype=dtype, seed=1)
    results = [torch.empty_like(a) for _ in range(5)]
    arithmetic_kernel[(1,)](a, b, *results, 512)
    expected = [a + b, a * b, a / b, torch.maximum(a, b), -a]
    for ours, theirs in zip(results, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=torch.finfo(dtype).eps, atol=0)


@triton.jit
def sums_kernel(values, totals, largest, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    o = tl.arange(0, ROWS)
    b_values = tl.load(values + o[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :])
    tl.store(totals + o, tl.sum(b_values.to(totals.dtype.element_ty), axis=1))
    tl.store(largest + o, tl.max(b_values, axis=1))


def test_sums_of_rows():
    values = random(8, 64, dtype=torch.bfloat16)
    totals, largest = torch.empty(2, 8)
    sums_kernel[(1,)](values, totals, largest, 8, 64)
    torch.testing.assert_close(totals, values.float().sum(1))
    assert torch.equal(largest, values.float().amax(1))
    with pytest.raises(InterpreterError, match="convert it first"):
        sums_kernel[(1,)](values, totals.bfloat16(), largest, 8, 64)


@triton.jit
def exponential_kernel(values, out, SIZE: tl.constexpr):
    o = tl.arange(0, SIZE)
    tl.store(out + o, tl.exp(tl.load(values + o)))


def test_exponentials_lose_what_the_rounded_exponent_loses():
    values = torch.linspace(-87, 88, 4096)
    ours = torch.empty(4096)
    exponential_kernel[(1,)](values, ours, 4096)
    errors = (ours.double() / values.double().exp() - 1).abs()
    eps = torch.finfo(torch.float32).eps
    assert (errors <= eps * (2 + values.abs())).all()
    assert errors.max() > 8 * eps  # correctly rounded ones would hide an algorithm's own loss
    ends = torch.tensor([math.inf, -math.inf, 0.0, -104.0])
    found = torch.empty(4)
    exponential_kernel[(1,)](ends, found, 4)
    assert found.tolist() == [math.inf, 0, 1, 0]


@triton.jit
def product_kernel(a, b, out, K, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr):
    """Multiply a tile of descriptors a (M, K) and b (N, K), one program a tile."""
    r, c = tl.program_id(0) * ROWS, tl.program_id(1) * COLUMNS
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for k in range(0, K, DEPTH):
        total = tl.dot(a.load([r, k]), b.load([c, k]).T, total)
    out.store([r, c], total.to(out.dtype))


def product(a, b, out):
    """Multiply a (M, K) and b (N, K) in tiles of 16 x 32 x 16."""
    (m, k), n = a.shape, len(b)
    blocks = [16, 16], [32, 16], [16, 32]
    tensors = [
        TensorDescriptor.from_tensor(tensor, block)
        for tensor, block in zip((a, b, out), blocks, strict=True)
    ]
    product_kernel[(-(-m // 16), -(-n // 32))](*tensors, k, 16, 32, 16)
    return out


@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(16, 32, 16), (1, 1, 8), (37, 45, 24), (48, 64, 40)], ids=str)
def test_products_by_descriptors(shape, dtype, out):
    """What lies outside is read as 0, though NaN stands there, and not written."""
    m, n, k = shape
    surroundings = torch.full((m + n + 64, k + 8), math.nan).to(dtype)
    a, b = surroundings[:m, :k], surroundings[m + 32 : m + 32 + n, :k]
    a.copy_(random(m, k, dtype=dtype))
    b.copy_(random(n, k, dtype=dtype, seed=1))
    whole = torch.full((m + 16, -(-n // 8) * 8 + 32), 7.0, dtype=out)
    product(a, b, whole[:m, :n])
    expected = (a.double() @ b.double().T).to(out)
    torch.testing.assert_close(
        whole[:m, :n], expected, rtol=1.6e-2 if out != torch.float32 else 1e-5, atol=1e-5
    )
    assert (whole[m:] == 7).all()
    assert (whole[:, n:] == 7).all()


def test_the_bits_of_a_score_do_not_depend_on_its_place():
    a, b = random(16, 40, dtype=torch.bfloat16), random(32, 40, dtype=torch.bfloat16, seed=1)
    once = product(a, b, torch.empty(16, 32))
    elsewhere = product(a.flip(0).repeat(2, 1), b.roll(5, 0).repeat(2, 1), torch.empty(32, 64))
    assert torch.equal(elsewhere[16:, 32:], once.flip(0).roll(5, 1))


def test_descriptors_need_rows_that_begin_at_16_bytes():
    """As the hardware does: such embeddings have to be padded."""
    a = random(16, 17, dtype=torch.bfloat16)
    with pytest.raises(Exception, match="16-byte aligned"):
        product(a, a, torch.empty(16, 16))


@triton.jit
def doubled(values, o):
    return tl.load(values + o) * 2


@triton.jit
def calling_kernel(values, out, SIZE: tl.constexpr):
    o = tl.arange(0, SIZE)
    tl.store(out + o, doubled(values, o) + doubled(values, o))


def test_the_language_is_what_it_was_after_a_kernel_that_calls_functions():
    values = random(16, dtype=torch.bfloat16)
    out = torch.empty_like(values)
    calling_kernel[(1,)](values, out, 16)
    assert torch.equal(out, 4 * values)
    assert tl.core.is_builtin(tl.load)
    assert tl.core.is_builtin(tl.tensor.__add__)
