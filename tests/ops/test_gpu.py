"""The loss on an NVIDIA GPU, against the definition there: kernels, products, graphs, no waiting.

That the kernels compute what they should on odd shapes is tested without a GPU, in Triton's
interpreter; here it is the products, tensor cores and launches that are new.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from loss_accuracy import Case, measure

from hybrid_fast.ops import info_nce, value_and_grad
from hybrid_fast.ops.backends import gpu

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here"),
]

# Relative, of gradients: W is rounded to 8 and 11 bits, float32 sums differ in order.
TOLERANCES = {
    torch.bfloat16: 6e-3,
    torch.float16: 2e-3,
    torch.float32: 1e-5,
    torch.float64: 1e-11,
}
SHAPES = {  # queries, passages, dimension
    "one": (1, 1, 8),
    "one query": (1, 70, 24),
    "odd": (63, 123, 17),
    "square": (1024, 1024, 384),
    "many passages": (33, 20001, 64),
    "one step and a part": (300, 700, 80),
}
# Of half-precision embeddings: in the first the library makes scores, in the others tiles do.
WAYS = {
    "one direction": {},
    "symmetric": {"symmetric": True},
    "recompute": {"recompute": True},
    "symmetric, recompute": {"symmetric": True, "recompute": True},
}
HALF = [torch.bfloat16, torch.float16]
ONE_PASS = "triton_one_pass"
backends = pytest.mark.parametrize("backend", ["triton", ONE_PASS])


def backends_of(*dtypes):
    """Parametrise a test by backend and dtype: what is not bfloat16 has no pass of its own."""
    pairs = [*[("triton", dtype) for dtype in dtypes], (ONE_PASS, torch.bfloat16)]
    return pytest.mark.parametrize(("backend", "dtype"), pairs, ids=str)


@pytest.fixture(autouse=True)
def one_pass_of_few_scores(monkeypatch):
    monkeypatch.setattr(gpu, "MOST_SCORES_OF_FEW_LAUNCHES", 0)


def problem(num_queries, num_passages, dim, dtype):
    generator = torch.Generator().manual_seed(0)
    passages = F.normalize(torch.randn(num_passages, dim, generator=generator), dim=1)
    noise = F.normalize(torch.randn(num_queries, dim, generator=generator), dim=1)
    queries = F.normalize(passages[:num_queries] + 2 * noise, dim=1)
    return queries.to("cuda", dtype), passages.to("cuda", dtype)


def masks(num_queries, num_passages):
    generator = torch.Generator().manual_seed(1)

    def ids(size, most):
        return torch.randint(-1, most, (size,), generator=generator).cuda()

    rows = torch.arange(num_queries, device="cuda")
    owners = torch.arange(num_passages, device="cuda") % num_queries
    owners = owners.index_fill(0, rows, -1)  # positives
    in_batch = rows % 3 > 0

    return {
        "none": {},
        "groups": {"query_groups": ids(num_queries, 9), "passage_groups": ids(num_passages, 9)},
        "ids": {"passage_ids": ids(num_passages, 50)},
        "mask": {"mask": ids(num_queries * num_passages, 3).reshape(num_queries, -1) == 0},
        "mask by columns": {
            "mask": (ids(num_queries * num_passages, 3).reshape(-1, num_queries) == 0).T
        },
        "margin": {"margin": 0.05},
        "margin, owners": {"margin": -0.1, "owners": owners},
        "in batch": {"owners": owners, "in_batch": in_batch},
        "all": {
            "query_groups": ids(num_queries, 9),
            "passage_groups": ids(num_passages, 9),
            "passage_ids": ids(num_passages, 50),
            "mask": ids(num_queries * num_passages, 3).reshape(num_queries, -1) == 0,
            "margin": 0.05,
            "owners": owners,
            "in_batch": in_batch,
        },
    }


def check(queries, passages, *, temperature=0.05, backend="triton", **options):
    temperature = torch.tensor(temperature, device="cuda")
    ours = value_and_grad(queries, passages, temperature=temperature, backend=backend, **options)
    truth = value_and_grad(
        queries.double(),
        passages.double(),
        temperature=temperature.double(),
        backend="reference",
        **options,
    )
    torch.testing.assert_close(ours[0].double(), truth[0], rtol=1e-4, atol=1e-5)
    for value, expected in zip(ours[1], truth[1], strict=True):
        error = (value.double() - expected).norm()
        assert error <= TOLERANCES[queries.dtype] * expected.norm() + 1e-5


@pytest.fixture(autouse=True)
def exact_float32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@backends_of(*TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", ["one direction", "symmetric"])
def test_shapes_and_dtypes(shape, way, backend, dtype):
    check(*problem(*SHAPES[shape], dtype), backend=backend, **WAYS[way])


@backends
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_recomputed(shape, backend):
    check(*problem(*SHAPES[shape], torch.bfloat16), backend=backend, recompute=True)


@pytest.mark.parametrize("mask", ["groups", "ids", "mask", "margin", "margin, owners", "in batch"])
@pytest.mark.parametrize("way", ["one direction", "symmetric"])
def test_masks(mask, way):
    check(*problem(200, 500, 64, torch.float32), **WAYS[way], **masks(200, 500)[mask])


@pytest.mark.parametrize("mask", ["mask by columns", "margin", "margin, owners", "in batch", "all"])
@pytest.mark.parametrize("way", ["symmetric", "recompute"])
def test_masks_of_tiles(mask, way):
    check(*problem(200, 500, 64, torch.bfloat16), **WAYS[way], **masks(200, 500)[mask])


@pytest.mark.parametrize("mask", ["groups", "margin, owners", "all"])
@pytest.mark.parametrize("way", WAYS)
def test_masks_of_one_pass(mask, way):
    inputs = problem(200, 500, 64, torch.bfloat16)
    check(*inputs, backend=ONE_PASS, **WAYS[way], **masks(200, 500)[mask])


@backends_of(*HALF)
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_losses_of_rows(symmetric, backend, dtype):
    """Each with an upstream gradient of its own, some below 0."""
    inputs = problem(300, 700, 80, dtype)
    upstream = torch.linspace(-1, 2, 300, device="cuda")

    def run(backend, exact=None):
        leaves = [t.to(exact or dtype).detach().requires_grad_() for t in inputs]
        losses = info_nce(*leaves, reduction="none", symmetric=symmetric, backend=backend)
        gradients = torch.autograd.grad(losses, leaves, upstream.to(losses.dtype))
        return losses.detach(), *gradients

    for value, expected in zip(run(backend), run("reference", torch.float64), strict=True):
        error = (value.double() - expected).norm()
        assert error <= TOLERANCES[dtype] * expected.norm()


@pytest.mark.parametrize("way", WAYS)
@backends_of(*HALF)
def test_a_copy_of_the_positive_is_no_higher_than_the_positive(way, backend, dtype):
    """Its score has the same bits wherever a tile has it, so a margin of 0 keeps it."""
    queries, passages = problem(400, 400, 80, dtype)
    queries = passages + 0.1 * queries  # no other passage is near
    passages = torch.cat([passages, passages.flip(0)])
    check(queries, passages, margin=0.0, backend=backend, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@backends_of(*HALF, torch.float32)
def test_several_chunks(way, backend, dtype):
    inputs = problem(1000, 3000, 64, dtype)
    check(*inputs, max_scratch_bytes=1, backend=backend, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("temperature", [0.05, 0.005])
def test_chunks_of_which_some_take_two_passes(temperature, way):
    """Long embeddings in the middle: their scores are far below what their lengths allow."""
    queries, passages = problem(1000, 3000, 64, torch.bfloat16)
    lengths = torch.ones(1000, 1, device="cuda", dtype=torch.bfloat16)
    lengths[300:500] = 20
    options = {"max_scratch_bytes": 1, "backend": ONE_PASS} | WAYS[way]
    check(queries * lengths, passages, temperature=temperature, **options)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
@pytest.mark.parametrize(
    ("temperature", "noise", "most"), [(0.05, 20.0, 2e-4), (0.05, 0.7, 2e-4), (0.01, 20.0, 1.4e-3)]
)
def test_accuracy_of_one_pass(temperature, noise, most, symmetric):
    case, way = Case(temperature, noise, symmetric), "`triton_one_pass`"
    errors = measure(case, 2048, 384, [way], "cuda").of_ways[way]
    assert errors[0] < 1e-5
    assert max(errors[1:]) < most


def peak_of_a_step(inputs, **options):
    """Return the bytes that loss and gradients need at most, gradients included."""
    value_and_grad(*inputs, **options)  # compiles
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    value_and_grad(*inputs, **options)
    return torch.cuda.max_memory_allocated() - before


@backends
@pytest.mark.parametrize("way", WAYS)
def test_memory_within_the_bound(way, backend):
    """Of scratch; the gradients and the sum of that of the passages are beside it."""
    inputs = problem(8192, 8192, 64, torch.bfloat16)
    peak = peak_of_a_step(inputs, backend=backend, max_scratch_bytes=2**25, **WAYS[way])
    # float32 and as returned, of queries and passages, each once more while it is scaled.
    beside = 2 * 2 * 8192 * 64 * (4 + 2)
    assert peak <= 2**25 + beside + 2**22


@pytest.mark.parametrize(("size", "mebibytes"), [(2**14, 976), (2**16, 2.2 * 1024)])
@pytest.mark.parametrize("way", WAYS)
def test_memory_that_nobody_bounded(way, size, mebibytes):
    """At most what torch.compile takes for the smaller, a seventh of it for the larger."""
    if torch.cuda.mem_get_info()[0] < 2 * mebibytes * 2**20:
        pytest.skip("too little memory is free")
    inputs = [torch.randn(size, 768, device="cuda", dtype=torch.bfloat16) / 28 for _ in range(2)]
    assert peak_of_a_step(inputs, backend=ONE_PASS, **WAYS[way]) < mebibytes * 2**20


@backends
@pytest.mark.parametrize("mask", ["none", "all"])
@pytest.mark.parametrize("way", WAYS)
def test_same_bits_twice(way, mask, backend):
    """Also with two rows of the same positive, which are added to the same column."""
    inputs = problem(1000, 3000, 64, torch.bfloat16)
    options = {"backend": backend} | WAYS[way] | masks(1000, 3000)[mask]
    options["positives"] = torch.arange(1000, device="cuda") // 2
    runs = [value_and_grad(*inputs, **options) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1].queries, runs[1][1].queries)
    assert torch.equal(runs[0][1].passages, runs[1][1].passages)


@backends
@pytest.mark.parametrize("mask", ["none", "groups", "margin", "all"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_waits_for_the_device(mask, way, backend):
    leaves = [t.requires_grad_() for t in problem(200, 500, 64, torch.bfloat16)]
    temperature = torch.tensor(0.05, device="cuda", requires_grad=True)
    options = {"backend": backend} | WAYS[way] | masks(200, 500)[mask]

    def step():
        info_nce(*leaves, temperature=temperature, **options).backward()

    step()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@backends
@pytest.mark.parametrize("mask", ["none", "all"])
@pytest.mark.parametrize("way", WAYS)
def test_capture_in_a_graph(way, mask, backend):
    """Replayed with other embeddings; one-pass also with such as take two passes instead."""
    queries, passages = problem(200, 500, 64, torch.bfloat16)
    options = {"backend": backend} | WAYS[way] | masks(200, 500)[mask]

    def step():
        return value_and_grad(queries, passages, **options)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, gradients = step()
    for length in (1, 20):
        queries.copy_(queries.flip(0) * length)  # the graph reads what stands there when replayed
        graph.replay()
        expected_loss, expected = step()
        torch.testing.assert_close(loss, expected_loss)
        torch.testing.assert_close(gradients.queries, expected.queries)
        torch.testing.assert_close(gradients.passages, expected.passages)
