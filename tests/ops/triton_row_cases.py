"""The Triton kernels of all dtypes in Triton's interpreter.

Run by test_triton_kernels.py, which sets it up.
"""

import math

import pytest
import torch
from mask_cases import masks
from triton_interpreter import (
    CHUNK_ROWS,
    FLOORS,
    SHAPES,
    TILE,
    check,
    on_the_cpu,  # noqa: F401
    small_chunks_and_poison,  # noqa: F401
)
from unit_vectors import TEMPERATURE, problem, run

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends import gpu, triton_rows
from hybrid_fast.ops.kernels import Kernels


def test_shapes_end_before_at_and_after_every_boundary():
    """Of rows, columns and dimension; several blocks of each, too, of which the last is partial."""
    rows, columns, dims = (set(sizes) for sizes in zip(*SHAPES.values(), strict=True))
    for sizes, block in ((rows, TILE.rows), (columns, TILE.columns), (dims, TILE.depth)):
        assert sizes >= {block - 1, block, block + 1}
        assert any(size > 2 * block and size % block for size in sizes)
    assert any(size > 2 * CHUNK_ROWS and size % CHUNK_ROWS for size in rows)
    # What sums columns takes 4 rows and 16 columns at a time, what merges tiles 2 of these and 8
    # rows or columns, what takes one row 16 columns (8 in float64): parts of the blocks above.
    assert CHUNK_ROWS > TILE.rows


@pytest.mark.parametrize("dtype", FLOORS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_shapes_and_dtypes(shape, symmetric, dtype):
    check(*problem(*SHAPES[shape], dtype=dtype), symmetric=symmetric)


@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_masks(mask, symmetric):
    options = {"symmetric": symmetric, "reduction": "none"}
    check(*problem(13, 21, 17), **options, **masks(13, 21)[mask])


@pytest.mark.parametrize("options", [{}, {"margin": 0.05}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_hard_only(options, dtype):
    check(*problem(14, 21, 16, dtype), negatives="hard_only", **options)


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_a_copy_of_the_positive_is_no_higher_than_the_positive(options, dtype):
    """Its score has the same bits, so a margin of 0 keeps it."""
    queries, passages = problem(13, 13, 17, dtype)
    passages = torch.cat([passages, passages.flip(0)])
    check(queries, passages, margin=0.0, **options)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("temperature", [0.001, 0.01, 10.0])
def test_temperatures(temperature, dtype, symmetric):
    """Logits up to 1e4."""
    queries, passages = problem(13, 21, 16, dtype)
    check(queries * 10, passages, temperature=temperature, symmetric=symmetric)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_without_negatives_loss_and_gradients_are_exactly_zero(symmetric):
    mask = torch.ones(13, 21, dtype=torch.bool)
    loss, *gradients = run(*problem(13, 21, 16), "triton", mask=mask, symmetric=symmetric)
    for value in (loss, *gradients[:3]):
        assert torch.equal(value, torch.zeros_like(value))


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_a_small_loss_keeps_its_digits(options, dtype):
    """The positives lead by 30 after scaling: 1 + the rest would be 1."""
    vectors = torch.eye(16, dtype=dtype)
    ones = torch.ones(16, dtype=torch.float64)
    options = {"temperature": 1 / 30, "reduction": "sum", "weights": ones, **options}
    loss, of_queries, *_ = run(vectors, vectors, "triton", **options)
    rest = 15 * math.exp(-30)
    torch.testing.assert_close(loss, torch.tensor(16 * rest).to(loss), rtol=1e-4, atol=0)
    if dtype == torch.float16:
        return  # W then has no digits for what is 1e-12 of its largest possible entry
    expected = torch.full((16, 16), math.exp(-30)) - torch.eye(16) * (rest + math.exp(-30))
    torch.testing.assert_close(of_queries.double(), 1.7 * 30 * expected.double(), rtol=1e-2, atol=0)


def test_float16_keeps_the_gradient_of_tiny_coefficients():
    queries, passages = problem(13, 21, 16, torch.float16)
    weights = torch.logspace(-9, -7, 13, dtype=torch.float64)
    one = run(queries, passages, "triton", reduction="sum", weights=weights * 1e6)
    tiny = run(
        queries, passages, "triton", reduction="none", weights=weights, temperature=TEMPERATURE
    )
    assert all(torch.isfinite(value).all() for value in (*one, *tiny))
    check(queries, passages, reduction="mean", weights=weights)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_same_bits_twice_and_when_recomputed(symmetric):
    inputs = problem(20, 37, 16)
    runs = [run(*inputs, "triton", symmetric=symmetric) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
    later = run(*inputs, "triton", symmetric=symmetric, recompute=True)
    for first, second in zip(runs[0], later, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("in_batch", [None, torch.arange(37) % 5 != 2], ids=["all", "in batch"])
@pytest.mark.parametrize("number", [False, True], ids=["coefficients", "a number"])
def test_terms_of_columns(number, in_batch, dtype, monkeypatch):
    """Shared positives, columns without rows in the sum, columns that are no positive."""
    monkeypatch.setattr(triton_rows, "TERM_BLOCKS", {"BLOCK_R": 16, "BLOCK_N": 8})
    generator = torch.Generator().manual_seed(0)
    sums = torch.randn(2, 21, generator=generator, dtype=dtype)
    sums[1] = sums[1].exp()
    sums[:, ::6] = torch.tensor([[-math.inf], [0]], dtype=dtype)
    positives = torch.randint(13, (37,), generator=generator)
    logits = 3 * torch.randn(37, generator=generator, dtype=dtype)
    coefficients = torch.rand(37, generator=generator, dtype=dtype)
    if number:
        coefficients = torch.tensor(0.25, dtype=dtype)
    arguments = sums, logits, positives, coefficients, in_batch
    kernels = triton_rows.RowKernels(torch.zeros(21, 3, dtype=dtype), dtype, 1, 0, 37)
    columns, gaps = kernels.column_terms(*arguments)
    expected, expected_gaps = Kernels.column_terms(kernels, *arguments)
    torch.testing.assert_close(gaps, expected_gaps)
    torch.testing.assert_close(columns.lse, expected.lse)
    torch.testing.assert_close(columns.coefficients, expected.coefficients)


@pytest.mark.parametrize("shape", [(5, 9, 8), (45, 50, 17)], ids=["one chunk", "several"])
@pytest.mark.parametrize("options", [{}, {"symmetric": True, "margin": 0.05}], ids=str)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_positives_by_default_are_the_rows_numbers(dtype, options, shape):
    """They are made a tensor only for several chunks."""
    inputs = problem(*shape, dtype=dtype)
    given = {"positives": torch.arange(shape[0])} | options
    runs = [run(*inputs, "triton", **each) for each in (options, given)]
    assert all(map(torch.equal, *runs))


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_numbers_that_python_knows_are_those_of_tensors(dtype, symmetric, monkeypatch):
    """Of a GPU's kernels: temperature and coefficients of a mean."""
    queries, passages = problem(13, 21, 17, dtype)

    def values(**options):
        leaves = [queries.clone().requires_grad_(), passages.clone().requires_grad_()]
        loss = info_nce(*leaves, symmetric=symmetric, backend="triton", **options)
        return [loss.detach(), *torch.autograd.grad(loss, leaves)]

    expected = values(temperature=torch.tensor(0.07, dtype=torch.float64), weights=torch.ones(13))
    if dtype != torch.float64:
        monkeypatch.setattr(triton_rows, "number_or_address", lambda scale, _: float(scale))
    # Without weights the loss is one mean, which rounds once where weights round each term.
    (loss, *gradients), (expected_loss, *expected_gradients) = values(temperature=0.07), expected
    rounding = 2 * torch.finfo(loss.dtype).eps
    torch.testing.assert_close(loss, expected_loss, rtol=rounding, atol=0)
    assert all(map(torch.equal, gradients, expected_gradients))


@pytest.mark.parametrize("mask", ["none", *masks(1, 1)])
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_both_directions_of_one_chunk_take_the_same_scores(dtype, mask, monkeypatch):
    monkeypatch.setattr(gpu, "MAX_SCRATCH_BYTES", 2**20)
    monkeypatch.setattr(gpu, "MOST_SCORES_OF_FEW_LAUNCHES", 13 * 21)
    products = []
    scores = triton_rows.RowKernels._scores
    monkeypatch.setattr(
        triton_rows.RowKernels,
        "_scores",
        lambda self, chunk: products.append(len(chunk.queries)) or scores(self, chunk),
    )
    options = {} if mask == "none" else masks(13, 21)[mask]
    check(*problem(13, 21, 17, dtype), symmetric=True, **options)
    assert products == [13]
