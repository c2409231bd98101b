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
from triton_interpreter import (
    SHAPES,
    TILE,
    on_the_cpu,  # noqa: F401
    small_chunks_and_poison,  # noqa: F401
)
from unit_vectors import problem, run

from hybrid_fast.ops.backends import (
    gpu,
    gpu_products,
    one_pass_products,
    one_pass_tiles,
    triton_one_pass,
)

BACKEND = "triton_one_pass"
check = partial(triton_interpreter.check, backend=BACKEND)
WAYS = {
    "mean": {},
    "symmetric": {"symmetric": True},
    "none": {"reduction": "none"},
    "recompute": {"recompute": True},
    "symmetric, recompute": {"symmetric": True, "recompute": True},
}
ways = pytest.mark.parametrize("way", WAYS)
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
