"""The one-pass loss in Triton's interpreter: its digits, bits, memory, launches; any options.

Run by test_triton_kernels.py, which sets it up.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mask_cases import masks
from problem_checks import check as check_problem
from random_problems import problems
from torch.utils._python_dispatch import TorchDispatchMode
from triton_interpreter import (
    largest_by_dtype,
    on_the_cpu,  # noqa: F401
    small_chunks_and_poison,  # noqa: F401
)
from triton_one_pass_setup import (
    BACKEND,
    WAYS,
    all_rows_in_one_chunk,
    apart,
    bfloat16,
    chunked,
    small_one_pass,  # noqa: F401
    ways,
)
from unit_vectors import problem, run

from hybrid_fast.ops import value_and_grad
from hybrid_fast.ops.backends import (
    gpu,
    gpu_products,
    one_pass_products,
    one_pass_tiles,
    triton_one_pass,
    triton_tiles,
)
from hybrid_fast.ops.chunked import compute_gradients, compute_losses
from hybrid_fast.ops.problem import Problem

FEW = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(FEW, max_examples=75)
ANY = problems(most_rows=21, most_dims=35, dtype=st.just(torch.bfloat16))
ROUNDED = problems(
    most_rows=21, most_dims=35, dtype=st.just(torch.float32), precision=st.just("bf16")
)


@given(problem=ANY)
@FEW
def test_any_options_together(problem):
    check_problem(problem, BACKEND)


@pytest.mark.slow
@given(problem=ANY | ROUNDED)
@MANY
def test_more_problems(problem):
    check_problem(problem, BACKEND)


def relative_error(value, truth):
    return ((value.double() - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("symmetric", [False, True], ids=["mean", "symmetric"])
@pytest.mark.parametrize(("temperature", "noise"), [(0.05, 20), (0.02, 0.7), (0.01, 2)])
def test_float32_gradients_are_off_by_two_roundings_alone(temperature, noise, symmetric):
    """Those of E and of what it is multiplied by, from losses near log N down to 1e-11."""
    generator = torch.Generator().manual_seed(0)
    passages = F.normalize(torch.randn(64, 32, generator=generator), dim=1)
    away = F.normalize(torch.randn(64, 32, generator=generator), dim=1)
    inputs = [F.normalize(passages + noise * away, dim=1), passages]
    inputs = [x.bfloat16().float() for x in inputs]
    options = {"temperature": temperature, "symmetric": symmetric}
    loss, expected = value_and_grad(*(x.double() for x in inputs), backend="reference", **options)
    found_loss, found = value_and_grad(*inputs, backend=BACKEND, precision="bf16", **options)
    assert relative_error(found_loss, loss) < 1e-5
    for value, truth in zip(found[:2], expected[:2], strict=True):
        assert value.dtype == torch.float32
        assert relative_error(value, truth) < 2 * 2**-9


@pytest.mark.parametrize("factor", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("options", [{}, {"symmetric": True}], ids=str)
def test_coefficients_of_any_size(factor, options):
    """Chunks may differ in their scale, the largest coefficients coming first or last."""
    inputs = [x.float() for x in bfloat16(20, 37, 16)]
    for exponents in (torch.linspace(0, 1, 20), torch.linspace(1, 0, 20)):
        weights = factor ** exponents.double()
        options = {"weights": weights, "reduction": "sum", "temperature": 0.05, **options}
        _, expected = value_and_grad(*(x.double() for x in inputs), backend="reference", **options)
        _, found = value_and_grad(*inputs, backend=BACKEND, precision="bf16", **options)
        # Each query's gradient has its own coefficient; bfloat16 keeps their digits.
        errors = (found[0].double() - expected[0]).norm(dim=1) / expected[0].norm(dim=1)
        assert errors.max() < 5e-3
        assert relative_error(found[1], expected[1]) < 5e-3


@pytest.mark.parametrize("factor", [1e-15, 1e15])
@pytest.mark.parametrize("symmetric", [False, True], ids=["mean", "symmetric"])
def test_embeddings_of_any_length(factor, symmetric):
    """A negative leads, by far: its exponential times a long passage must not overflow."""
    _, passages = problem(20, 20, 16)
    passages = F.normalize(passages, dim=1)
    inputs = (
        (passages.roll(1, 0) / factor).bfloat16().float(),
        (passages * factor).bfloat16().float(),
    )
    options = {"temperature": 0.01, "symmetric": symmetric}
    _, expected = value_and_grad(*(x.double() for x in inputs), backend="reference", **options)
    _, found = value_and_grad(*inputs, backend=BACKEND, precision="bf16", **options)
    for value, truth in zip(found[:2], expected[:2], strict=True):
        assert relative_error(value, truth) < 2 * 2**-9


@pytest.mark.parametrize("options", [{}, {"symmetric": True}], ids=str)
def test_precision_bf16_is_that_of_rounded_embeddings(options):
    queries, passages = problem(13, 21, 17)
    rounded = run(queries.bfloat16(), passages.bfloat16(), BACKEND, **options)
    ours = run(queries, passages, BACKEND, precision="bf16", **options)
    for value, expected in zip(ours, rounded, strict=True):
        assert torch.equal(value.to(expected.dtype), expected)


@chunked
@ways
def test_same_bits_twice(way, in_one_chunk, monkeypatch):
    if in_one_chunk:
        all_rows_in_one_chunk(monkeypatch)
    positives = torch.arange(20) // 3
    runs = [run(*bfloat16(20, 37, 16), BACKEND, positives=positives, **WAYS[way]) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


@chunked
@pytest.mark.parametrize("mask", ["none", "all together"])
@ways
def test_descriptors_give_the_same_bits(way, mask, in_one_chunk, monkeypatch):
    """They read zeros beyond the edges, and write nothing there."""
    if in_one_chunk:
        all_rows_in_one_chunk(monkeypatch)
    queries, passages = bfloat16(20, 53, 37)
    # Not at an address that descriptors take.
    memory = torch.cat([torch.zeros(1, dtype=torch.bfloat16), queries.flatten()])
    options = WAYS[way] | masks(20, 53).get(mask, {})
    by_pointers = run(queries, passages, BACKEND, **options)
    monkeypatch.setattr(one_pass_tiles, "has_descriptors", lambda _: True)
    by_descriptors = run(memory[1:].view(20, 37), passages, BACKEND, **options)
    for value, expected in zip(by_descriptors, by_pointers, strict=True):
        assert torch.equal(value, expected)


def settled(queries, passages, **options):
    """Return a problem as kernels take it; the public door refuses some values on a CPU."""
    rows, temperature = torch.arange(len(queries)), torch.tensor(0.07)
    options = {"positives": rows, "temperature": temperature} | options
    return Problem(queries=queries, passages=passages, **options)


def losses_and_gradients(given, make_kernels):
    losses = compute_losses(given, make_kernels(given, False))
    known = None if given.symmetric else losses
    kernels = make_kernels(given, False)
    _, gradients = compute_gradients(given, kernels, torch.ones(20), [True] * 3, known)
    return losses, gradients.queries, gradients.passages, gradients.temperature


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e20])
@pytest.mark.parametrize("side", [0, 1], ids=["query", "passage"])
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_what_is_not_finite_is_as_in_two_passes(symmetric, side, value):
    inputs = bfloat16(20, 37, 16)
    inputs[side][3, 1] = value
    given = settled(*inputs, symmetric=symmetric)
    ways = gpu.make_one_pass_kernels, gpu.make_kernels
    for ours, theirs in zip(*(losses_and_gradients(given, way) for way in ways), strict=True):
        finite = theirs.isfinite()
        assert torch.equal(ours.isfinite(), finite)
        torch.testing.assert_close(ours[finite], theirs[finite], rtol=2e-2, atol=2e-2)


def test_what_has_an_entry_for_each_score_are_exponentials_alone(monkeypatch):
    """In half precision; the sums of the two-pass way take no memory beside them."""
    sizes = largest_by_dtype(monkeypatch)
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", 16)
    run(*bfloat16(16, 128, 16), BACKEND, symmetric=True)
    assert sizes[torch.bfloat16] == 16 * 128
    assert sizes[torch.float32] <= 2 * 16 * 128 // 8


class WithoutWaiting(TorchDispatchMode):
    """Refuse whatever waits for a device."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        assert operation not in (
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.equal.default,
        )
        return operation(*args, **kwargs or {})


@ways
def test_launches_depend_on_shapes_alone(way, monkeypatch):
    """Whether chunks are flagged or not, and nothing waits to know it."""
    launches = []
    launch = gpu_products.launch

    def note(kernel, num_programs, device, arguments):
        launches.append((kernel.__name__, num_programs))
        launch(kernel, num_programs, device, arguments)

    for module in (one_pass_products, one_pass_tiles, triton_tiles):
        monkeypatch.setattr(module, "launch", note)
    seen = []
    for queries, passages in (apart(20, 37), bfloat16(20, 37, 16)):
        symmetric = WAYS[way].get("symmetric", False)
        given = settled(queries, passages, temperature=torch.tensor(0.005), symmetric=symmetric)
        with WithoutWaiting():
            kernels = gpu.make_one_pass_kernels(given, True)
            assert type(kernels) is triton_one_pass.OnePassKernels
            if "recompute" in way:
                compute_losses(given, kernels)
            compute_gradients(given, kernels, torch.ones(20), [True] * 3)
        seen.append(list(launches))
        launches.clear()
    assert seen[0] == seen[1]
    names = {name for name, _ in seen[0]}
    assert {"exp_tiles_kernel", "tile_sums_kernel", "weights_kernel"} <= names
