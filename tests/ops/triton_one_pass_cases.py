"""The one-pass loss in Triton's interpreter, against the definition in float64.

Run by test_triton_kernels.py, which sets it up.
"""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import triton_interpreter
from mask_cases import masks
from torch.utils._python_dispatch import TorchDispatchMode
from triton_interpreter import (
    SHAPES,
    TILE,
    on_the_cpu,  # noqa: F401
    small_chunks_and_poison,  # noqa: F401
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

BACKEND = "triton_one_pass"
check = partial(triton_interpreter.check, backend=BACKEND)
WAYS = {
    "mean": {},
    "symmetric": {"symmetric": True},
    "none": {"reduction": "none"},
    "recompute": {"recompute": True},
    "symmetric, recompute": {"symmetric": True, "recompute": True},
}
IN_BETWEEN = {"recompute", "symmetric, recompute"}  # both kinds of passes come in others
ways = pytest.mark.parametrize(
    "way", [pytest.param(w, marks=[pytest.mark.slow] * (w in IN_BETWEEN)) for w in WAYS]
)
chunked = pytest.mark.parametrize("in_one_chunk", [False, True], ids=["chunks", "one chunk"])


@pytest.fixture(autouse=True)
def small_one_pass(monkeypatch):
    monkeypatch.setattr(gpu, "MOST_SCORES_OF_FEW_LAUNCHES", 0)
    monkeypatch.setattr(triton_one_pass, "MAX_SCRATCH_BYTES", 1)
    monkeypatch.setattr(triton_one_pass, "FEWEST_ROWS", 1)
    monkeypatch.setattr(one_pass_tiles, "tile_of", lambda *_: TILE)
    monkeypatch.setattr(one_pass_tiles, "_SUM_BLOCKS", {"BLOCK_T": 2, "BLOCK_R": 8})
    monkeypatch.setattr(one_pass_tiles, "_WEIGH_BLOCKS", {"BLOCK_R": 4, "BLOCK_N": 16})
    monkeypatch.setattr(one_pass_tiles, "_DEPTH_BLOCK", 16)
    monkeypatch.setattr(one_pass_products, "_POSITIVES_BLOCK", 4)
    monkeypatch.setattr(one_pass_products, "_RESCALE_BLOCK", 64)


@pytest.fixture
def flags(monkeypatch):
    """Whether each chunk was flagged, in the order of first passes over it."""
    found = []
    compute = one_pass_tiles.ExponentialTiles._compute

    def compute_and_note(self, *args, **kwargs):
        exponentials = compute(self, *args, **kwargs)
        found.append(exponentials.flag)
        return exponentials

    monkeypatch.setattr(one_pass_tiles.ExponentialTiles, "_compute", compute_and_note)
    return found


def bfloat16(*shape, seed=0):
    return problem(*shape, torch.bfloat16, seed)


def apart(num_queries, num_passages):
    """Unit vectors: passages are near one another, queries at right angles to them."""
    generator = torch.Generator().manual_seed(0)
    passages = torch.cat([torch.ones(num_passages, 8), torch.zeros(num_passages, 8)], dim=1)
    passages += 0.5 * torch.randn(passages.shape, generator=generator)
    queries = passages[:num_queries].roll(8, dims=1)
    return [F.normalize(vectors, dim=1).bfloat16() for vectors in (queries, passages)]


def all_rows_in_one_chunk(monkeypatch):
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", 128)


@pytest.mark.parametrize("shape", SHAPES)
@ways
def test_shapes(shape, way):
    check(*bfloat16(*SHAPES[shape]), **WAYS[way])


@pytest.mark.parametrize("mask", masks(1, 1))
@ways
def test_masks(mask, way):
    check(*bfloat16(13, 21, 17), **WAYS[way], **masks(13, 21)[mask])


@pytest.mark.parametrize("mask", ["groups", "in batch, other positives", "all together"])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_exponentials_are_kept_for_both_directions(mask, temperature, monkeypatch):
    all_rows_in_one_chunk(monkeypatch)
    check(*bfloat16(20, 53, 17), symmetric=True, temperature=temperature, **masks(20, 53)[mask])


@pytest.mark.parametrize("options", [{}, {"margin": 0.05}, {"recompute": True}], ids=str)
def test_hard_only(options):
    check(*bfloat16(14, 21, 16), negatives="hard_only", **options)


@chunked
@ways
def test_many_rows_of_one_positive(way, in_one_chunk, monkeypatch):
    """Each adds to the same passage's gradient, in order; more rows than one block holds."""
    if in_one_chunk:
        all_rows_in_one_chunk(monkeypatch)
    positives = torch.tensor([5] * 11 + [2, 5, 2, 0, 5, 20, 20, 0, 5])
    check(*bfloat16(20, 21, 33), positives=positives, **WAYS[way])


@ways
def test_without_negatives_loss_and_gradients_are_exactly_zero(way):
    mask = torch.ones(13, 21, dtype=torch.bool)
    for value in run(*bfloat16(13, 21, 16), BACKEND, mask=mask, **WAYS[way])[:4]:
        assert torch.equal(value, torch.zeros_like(value))


@ways
def test_rows_of_no_weight(way):
    weights = torch.linspace(0, 1, 20, dtype=torch.float64)
    weights[9:18] = 0  # a whole chunk
    check(*bfloat16(20, 37, 16), weights=weights, **WAYS[way])
    nothing = torch.zeros(20, dtype=torch.float64)
    for value in run(*bfloat16(20, 37, 16), BACKEND, weights=nothing, **WAYS[way])[:4]:
        assert torch.equal(value, torch.zeros_like(value))


@chunked
@ways
def test_a_small_loss_keeps_its_digits(way, in_one_chunk, monkeypatch):
    """The positives lead by 30 after scaling: 1 + the rest would be 1."""
    if in_one_chunk:
        all_rows_in_one_chunk(monkeypatch)
    vectors = torch.eye(16, dtype=torch.bfloat16)
    options = {"temperature": 1 / 30, "weights": torch.ones(16, dtype=torch.float64)}
    if way != "none":
        options["reduction"] = "sum"
    loss, of_queries, *_ = run(vectors, vectors, BACKEND, **options | WAYS[way])
    rest = 15 * math.exp(-30)
    torch.testing.assert_close(loss.sum(), torch.tensor(16 * rest), rtol=3e-6, atol=0)
    expected = torch.full((16, 16), math.exp(-30)) - torch.eye(16) * (rest + math.exp(-30))
    upstream = torch.linspace(-1, 2, 16)[:, None] if way == "none" else 1.7
    torch.testing.assert_close(of_queries.float(), upstream * 30 * expected, rtol=1e-2, atol=0)


@chunked
@ways
def test_all_chunks_are_flagged(way, in_one_chunk, flags, monkeypatch):
    """At temperature .005 no passage has the cosine that the bound expects."""
    if in_one_chunk:
        all_rows_in_one_chunk(monkeypatch)
    check(*apart(20, 37), temperature=0.005, **WAYS[way])
    assert all(flags)
    assert len(flags) >= 1 if in_one_chunk else 3


@ways
def test_one_chunk_is_flagged(way, flags):
    queries, passages = apart(20, 37)
    queries = torch.cat([passages[:9], queries[9:18], passages[18:20]])
    check(queries, passages, temperature=0.005, **WAYS[way])
    assert [bool(flag) for flag in flags[:3]] == [False, True, False]


@ways
@pytest.mark.parametrize("mask", ["all together", "margin", "everything masked"])
def test_flagged_masks(way, mask, flags):
    check(*apart(20, 37), temperature=0.005, **WAYS[way], **masks(20, 37)[mask])
    assert all(flags)


@chunked
@pytest.mark.parametrize("mask", ["none", "in batch", "all together"])
@pytest.mark.parametrize("options", [{}, {"symmetric": True}], ids=str)
@pytest.mark.parametrize("temperature", [0.07, 0.005])
def test_a_fixed_temperature(temperature, options, mask, in_one_chunk, monkeypatch):
    """Nothing is summed for its gradient, and exponentials that are kept are weighed in place."""
    if in_one_chunk:
        all_rows_in_one_chunk(monkeypatch)
    inputs = apart(20, 53) if temperature == 0.005 else bfloat16(20, 53, 17)
    options = {"temperature": temperature, **options, **masks(20, 53).get(mask, {})}
    loss, expected = value_and_grad(*(x.double() for x in inputs), backend="reference", **options)
    found_loss, found = value_and_grad(*inputs, backend=BACKEND, **options)
    torch.testing.assert_close(found_loss.double(), loss, rtol=3e-6, atol=1e-7)
    for value, truth in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(value.double(), truth, rtol=0, atol=8e-3 * truth.abs().max())


def relative_error(value, truth):
    return ((value.double() - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("symmetric", [False, True], ids=["mean", "symmetric"])
@pytest.mark.parametrize(
    ("temperature", "noise"), [(0.05, 20), (0.05, 0.7), (0.02, 0.7), (0.01, 2)]
)
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
@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38, 1e20])
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
    sizes = {}
    new_empty = torch.Tensor.new_empty

    def allocate(*args, **kwargs):
        tensor = new_empty(*args, **kwargs)
        sizes[tensor.dtype] = max(sizes.get(tensor.dtype, 0), tensor.numel())
        return tensor

    monkeypatch.setattr(torch.Tensor, "new_empty", allocate)
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
