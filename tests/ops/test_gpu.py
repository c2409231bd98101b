"""The loss on an NVIDIA GPU, against the definition there: kernels, products, graphs, no waiting.

That the kernels compute what they should on odd shapes is tested without a GPU, in Triton's
interpreter; here it is the products, tensor cores and launches that are new.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hybrid_fast.ops import info_nce, value_and_grad

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


def check(queries, passages, **options):
    temperature = torch.tensor(0.05, device="cuda")
    ours = value_and_grad(queries, passages, temperature=temperature, backend="triton", **options)
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


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", ["one direction", "symmetric"])
def test_shapes_and_dtypes(shape, way, dtype):
    check(*problem(*SHAPES[shape], dtype), **WAYS[way])


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_recomputed(shape):
    check(*problem(*SHAPES[shape], torch.bfloat16), recompute=True)


@pytest.mark.parametrize("mask", ["groups", "ids", "mask", "margin", "margin, owners", "in batch"])
@pytest.mark.parametrize("way", ["one direction", "symmetric"])
def test_masks(mask, way):
    check(*problem(200, 500, 64, torch.float32), **WAYS[way], **masks(200, 500)[mask])


@pytest.mark.parametrize("mask", ["mask by columns", "margin", "margin, owners", "in batch", "all"])
@pytest.mark.parametrize("way", ["symmetric", "recompute"])
def test_masks_of_tiles(mask, way):
    check(*problem(200, 500, 64, torch.bfloat16), **WAYS[way], **masks(200, 500)[mask])


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_losses_of_rows(symmetric, dtype):
    """Each with an upstream gradient of its own, some below 0."""
    inputs = problem(300, 700, 80, dtype)
    upstream = torch.linspace(-1, 2, 300, device="cuda")

    def run(backend, exact):
        leaves = [t.to(exact or dtype).detach().requires_grad_() for t in inputs]
        losses = info_nce(*leaves, reduction="none", symmetric=symmetric, backend=backend)
        gradients = torch.autograd.grad(losses, leaves, upstream.to(losses.dtype))
        return losses.detach(), *gradients

    for value, expected in zip(run("triton", None), run("reference", torch.float64), strict=True):
        error = (value.double() - expected).norm()
        assert error <= TOLERANCES[dtype] * expected.norm()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_copy_of_the_positive_is_no_higher_than_the_positive(way, dtype):
    """Its score has the same bits wherever a tile has it, so a margin of 0 keeps it."""
    queries, passages = problem(400, 400, 80, dtype)
    queries = passages + 0.1 * queries  # no other passage is near
    passages = torch.cat([passages, passages.flip(0)])
    check(queries, passages, margin=0.0, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [*HALF, torch.float32], ids=str)
def test_several_chunks(dtype, way):
    check(*problem(1000, 3000, 64, dtype), max_scratch_bytes=1, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_memory_within_the_bound(way):
    """Of scratch; the gradients and the sum of that of the passages are beside it."""
    inputs = problem(8192, 8192, 64, torch.bfloat16)
    value_and_grad(*inputs, backend="triton", **WAYS[way])
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    value_and_grad(*inputs, backend="triton", max_scratch_bytes=2**25, **WAYS[way])
    # float32 and as returned, of queries and passages, each once more while it is scaled.
    beside = 2 * 2 * 8192 * 64 * (4 + 2)
    assert torch.cuda.max_memory_allocated() - before <= 2**25 + beside + 2**22


@pytest.mark.parametrize("way", WAYS)
def test_same_bits_twice(way):
    inputs = problem(1000, 3000, 64, torch.bfloat16)
    runs = [value_and_grad(*inputs, backend="triton", **WAYS[way]) for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1].queries, runs[1][1].queries)
    assert torch.equal(runs[0][1].passages, runs[1][1].passages)


@pytest.mark.parametrize("mask", ["none", "groups", "margin", "all"])
@pytest.mark.parametrize("way", WAYS)
def test_nothing_waits_for_the_device(mask, way):
    leaves = [t.requires_grad_() for t in problem(200, 500, 64, torch.bfloat16)]
    temperature = torch.tensor(0.05, device="cuda", requires_grad=True)
    options = {"backend": "triton"} | WAYS[way] | masks(200, 500)[mask]

    def step():
        info_nce(*leaves, temperature=temperature, **options).backward()

    step()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("mask", ["none", "all"])
@pytest.mark.parametrize("way", WAYS)
def test_capture_in_a_graph(way, mask):
    queries, passages = problem(200, 500, 64, torch.bfloat16)
    options = {"backend": "triton"} | WAYS[way] | masks(200, 500)[mask]

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
    queries.copy_(queries.flip(0))  # the graph reads what stands there when it is replayed
    graph.replay()
    expected_loss, expected = step()
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradients.queries, expected.queries)
    torch.testing.assert_close(gradients.passages, expected.passages)
