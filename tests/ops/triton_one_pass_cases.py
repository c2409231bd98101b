"""The one-pass loss in Triton's interpreter, against the definition in float64.

Run by test_triton_kernels.py, which sets it up.
"""

import math

import pytest
import torch
from mask_cases import masks
from triton_interpreter import (
    SHAPES,
    on_the_cpu,  # noqa: F401
    small_chunks_and_poison,  # noqa: F401
)
from triton_one_pass_setup import (
    BACKEND,
    WAYS,
    all_rows_in_one_chunk,
    apart,
    bfloat16,
    check,
    chunked,
    small_one_pass,  # noqa: F401
    ways,
)
from unit_vectors import run

from hybrid_fast.ops import value_and_grad
from hybrid_fast.ops.backends import one_pass_tiles


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
