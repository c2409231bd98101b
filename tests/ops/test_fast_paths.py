"""Every fast path against the definition in float64: losses and all gradients, on odd shapes.

Two-reference rule: a path may be off by what plain torch is off by in the same dtype, and a floor,
which says what its own roundings may cost. Scratch memory is poisoned with NaN, so that a lane that
was never written shows.
"""

from __future__ import annotations

import math
import os
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mask_cases import masks
from ranks import run_ranks
from unit_vectors import TEMPERATURE, poisoned, problem, run

from hybrid_fast import _core
from hybrid_fast.ops import info_nce, value_and_grad
from hybrid_fast.ops.backends import cpu, cpu_kernels

# Relative to the largest entry of the truth: float32 sums of thousands of terms in another order
# than torch's; bfloat16 rounds W to 8 bits, and each chunk's part of a gradient once more.
FLOORS = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 3e-6, torch.bfloat16: 6e-3}
SHAPES = {  # queries, passages, dimension
    "one": (1, 1, 1),
    "one query": (1, 7, 5),
    "odd": (63, 123, 17),
    "square": (64, 64, 32),
    "beyond a vector": (17, 65, 31),
    "several chunks": (150, 201, 40),
    "many passages": (9, 3001, 24),
}


@pytest.fixture(autouse=True, scope="module")
def several_threads():
    """More than share rows evenly; elsewhere tests have one."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(autouse=True)
def small_chunks_and_poison(monkeypatch):
    monkeypatch.setattr(cpu, "_FEWEST_ROWS", 8)
    monkeypatch.setattr(cpu, "MOST_ROWS", 32)
    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned(torch.Tensor.new_empty))


def check(queries, passages, **options):
    """Compare the fast path with plain torch, both against float64."""
    truth = run(queries, passages, "reference", dtype=torch.float64, **options)
    plain = run(queries, passages, "reference", **options)
    fast = run(queries, passages, "cpu", **options)
    # Gradients are sums of terms that may all cancel: errors are then relative to the terms.
    temperature = options.get("temperature", TEMPERATURE)
    embeddings, shortest = (queries.double(), passages.double()), (1.0, 1.0)
    if options.get("normalize"):
        # Gradients pass through x / |x|, which cancels along x and multiplies by 1 / |x|.
        shortest = [vectors.norm(dim=1).min().item() for vectors in embeddings]
        embeddings = tuple(F.normalize(vectors, dim=1) for vectors in embeddings)
    largest_query, largest_passage = (vectors.abs().max().item() for vectors in embeddings)
    logit = (embeddings[0] @ embeddings[1].T).abs().max().item() / temperature
    # A score that is rounded once differently moves its exponential by this part.
    rounding = torch.finfo(torch.promote_types(queries.dtype, torch.float32)).eps
    floor = FLOORS[queries.dtype] + rounding * logit
    terms = {
        "loss": 1e-3,  # the truth itself has no digits below its rounding
        "queries": largest_passage / temperature / len(queries) / shortest[0],
        "passages": largest_query / temperature / len(queries) / shortest[1],
        # The sum of a term a row, whose roundings are independent.
        "temperature": logit / temperature / math.sqrt(len(queries)),
        "weights": truth[0].abs().max().item(),
    }
    for name, expected, slow, value in zip(terms, truth, plain, fast, strict=True):
        assert value.dtype == slow.dtype
        scale = expected.abs().max().clamp(min=max(terms[name], 1e-12))
        error = ((value.double() - expected).abs().max() / scale).item()
        allowed = ((slow.double() - expected).abs().max() / scale).item() + floor
        assert error <= allowed, f"{name}: error {error:.2e}, allowed {allowed:.2e}"


@pytest.mark.parametrize("dtype", FLOORS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_shapes_and_dtypes(shape, symmetric, dtype):
    check(*problem(*SHAPES[shape], dtype=dtype), symmetric=symmetric)


@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_masks_and_reductions(mask, symmetric, reduction):
    check(*problem(63, 123, 17), symmetric=symmetric, reduction=reduction, **masks(63, 123)[mask])


@pytest.mark.parametrize("mask", masks(1, 1))
def test_masks_in_bfloat16(mask):
    check(*problem(63, 123, 18, torch.bfloat16), **masks(63, 123)[mask])


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"reduction": "sum"}], ids=str)
def test_recompute_gives_the_same(options):
    inputs = problem(63, 123, 17)
    now, later = (run(*inputs, "cpu", recompute=recompute, **options) for recompute in (0, 1))
    for first, second in zip(now, later, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


def test_hard_only():
    check(*problem(40, 100, 16), negatives="hard_only")


@given(
    num_queries=st.integers(1, 40),
    more=st.integers(0, 60),
    dim=st.integers(1, 33),
    temperature=st.sampled_from([0.001, 0.01, 0.05, 1.0, 10.0]),
    scale=st.sampled_from([1e-3, 1.0, 10.0]),
    mask=st.sampled_from([*masks(1, 1), "none"]),
    symmetric=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 1000),
)
@settings(
    max_examples=3 * settings.default.max_examples // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_case(num_queries, more, dim, temperature, scale, mask, symmetric, dtype, seed):
    """Logits up to 1e4."""
    queries, passages = problem(num_queries, num_queries + more, dim, dtype, seed)
    options = {} if mask == "none" else masks(num_queries, num_queries + more, seed)[mask]
    check(queries * scale, passages, temperature=temperature, symmetric=symmetric, **options)


def test_tensors_with_strides():
    queries, passages = (torch.randn(3, 2 * size, 8)[1, ::2] for size in (20, 30))
    options = {"weights": torch.rand(40)[::2], "passage_ids": torch.arange(60)[::2] % 7}
    losses, gradients = zip(
        *[
            value_and_grad(queries, passages, reduction="sum", backend=backend, **options)
            for backend in ("cpu", "reference")
        ],
        strict=True,
    )
    torch.testing.assert_close(*losses)
    for value, expected in zip(*(g[:2] for g in gradients), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_precision_bf16_stays_near_float32():
    queries, passages = problem(200, 300, 64)
    exact = run(queries, passages, "cpu")
    rounded = run(queries, passages, "cpu", precision="bf16")
    for name, first, second in zip("lqp", exact, rounded, strict=False):
        assert (first - second).norm() / first.norm() < 5e-3, name
    assert rounded[1].dtype == torch.float32


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_twice(symmetric, dtype):
    inputs = problem(150, 201, 40, dtype)
    for first, second in zip(
        *(run(*inputs, "cpu", symmetric=symmetric) for _ in range(2)), strict=True
    ):
        assert torch.equal(first, second)


@pytest.mark.parametrize("mask", ["none", *(m for m in masks(1, 1) if m != "positives")])
@pytest.mark.parametrize("options", [{"symmetric": True}, {"reduction": "none"}, {}], ids=str)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_positives_by_default_are_the_rows_numbers(backend, options, mask):
    options = options | (masks(63, 123)[mask] if mask != "none" else {})
    given = {"positives": torch.arange(63)} | options
    runs = [run(*problem(63, 123, 17), backend, **each) for each in (options, given)]
    assert all(map(torch.equal, *runs))


def test_a_second_backward_pass_finds_the_same():
    queries, passages = (tensor.requires_grad_() for tensor in problem(20, 30, 8))
    loss = info_nce(queries, passages, backend="cpu")
    first = torch.autograd.grad(loss, (queries, passages), retain_graph=True)
    second = torch.autograd.grad(loss, (queries, passages), retain_graph=True)
    doubled = torch.autograd.grad(2 * loss, (queries, passages))
    for one, two, three in zip(first, second, doubled, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(2 * one, three)


@pytest.mark.parametrize("factor", [1, -2.5, 0])
def test_gradients_are_those_of_what_is_made_of_the_loss(factor):
    leaves = [tensor.requires_grad_() for tensor in problem(20, 30, 8)]
    loss = info_nce(*leaves, backend="cpu")
    kept = torch.autograd.grad(loss, leaves, retain_graph=True)
    for gradient, one in zip(torch.autograd.grad(factor * loss, leaves), kept, strict=True):
        assert torch.equal(gradient, factor * one)
    at_once = torch.autograd.grad(info_nce(*leaves, backend="cpu"), leaves)
    assert all(map(torch.equal, at_once, kept))


def test_double_backward_is_refused():
    queries, passages = (tensor.requires_grad_() for tensor in problem(20, 30, 8))
    loss = info_nce(queries, passages, backend="cpu")
    with pytest.raises(RuntimeError, match=r"second derivative.*use backend='reference'"):
        torch.autograd.grad(loss, queries, create_graph=True)


@pytest.mark.parametrize("frozen", ["queries", "passages", "both"])
def test_no_products_for_inputs_without_gradient(frozen, monkeypatch):
    calls = []
    for name in ("query_gradient", "add_passage_gradient"):
        method = getattr(cpu_kernels.FloatKernels, name)
        monkeypatch.setattr(
            cpu_kernels.FloatKernels,
            name,
            lambda *args, name=name, method=method: calls.append(name) or method(*args),
        )
    queries, passages = problem(20, 30, 8)
    queries.requires_grad_(frozen == "passages")
    passages.requires_grad_(frozen == "queries")
    loss = info_nce(queries, passages, backend="cpu")
    assert loss.requires_grad == (frozen != "both")
    assert (
        set(calls)
        == {
            "queries": {"add_passage_gradient"},
            "passages": {"query_gradient"},
            "both": set(),
        }[frozen]
    )


def test_value_and_grad_is_backward_at_once():
    queries, passages = problem(63, 123, 17)
    temperature = torch.tensor(0.07)
    loss, gradients = value_and_grad(queries, passages, temperature=temperature, symmetric=True)
    leaves = [t.clone().requires_grad_() for t in (queries, passages, temperature)]
    expected = info_nce(*leaves[:2], temperature=leaves[2], symmetric=True)
    expected.backward()
    assert torch.equal(loss, expected.detach())
    for gradient, leaf in zip(gradients, leaves, strict=True):
        assert torch.equal(gradient, leaf.grad)
    assert value_and_grad(queries, passages)[1].temperature is None
    with pytest.raises(ValueError, match="reduction 'mean' or 'sum'"):
        value_and_grad(queries, passages, reduction="none")


def test_an_empty_contrast_has_no_loss_however_large_the_logits():
    queries = torch.full((2, 3), 70.0, requires_grad=True)
    mask = ~torch.eye(2, dtype=torch.bool)
    for symmetric in (False, True):
        loss = info_nce(queries, queries, mask=mask, symmetric=symmetric, backend="cpu")
        loss.backward()
        assert loss.item() == 0
    assert not queries.grad.any()


def run_this_file(rank, world_size, instructions):
    """Return pytest's exit code and output; None if the processor lacks the instructions."""
    os.environ["HYBRID_FAST_CPU"] = instructions  # read at the first call
    try:
        assert _core.contrast_instructions() == instructions
    except ValueError:
        return None
    chosen = "(shapes or masks or bf16 or bits) and not every"
    # What is imported already cannot be rewritten: plain assertions.
    options = ["-q", "-x", "-p", "no:cacheprovider", "--assert=plain"]
    with redirect_stdout(StringIO()) as output:
        code = pytest.main([*options, __file__, "-k", chosen])
    return int(code), output.getvalue()


@pytest.mark.parametrize("instructions", ["amx", "avx512", "avx2", "portable"])
def test_every_instruction_set_passes(instructions):
    """The tests of this file once more, in a process that is told to take others."""
    if instructions == _core.contrast_instructions():
        pytest.skip(f"{instructions} is what the other tests take")
    (outcome,) = run_ranks(run_this_file, 1, instructions)
    if outcome is None and instructions != "portable":
        pytest.skip(f"this processor has no {instructions}")
    code, output = outcome
    assert code == 0, output[-3000:]
