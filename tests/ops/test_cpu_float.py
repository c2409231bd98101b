"""The float loss on the CPU against its definition in float64, whatever computes its products."""

import multiprocessing

import pytest
import torch
from product_ways import LACKING, WAYS, compute_by

from hybrid_fast.cpu import choices, ways
from hybrid_fast.ops import info_nce, value_and_grad

MIXED = pytest.param("nt=onednn, nn=torch, tn=core", marks=LACKING)
CASES = {
    "mean": {},
    "symmetric": {"symmetric": True},
    "normalized": {"normalize": True, "temperature": 0.02},
    "margin": {"margin": 0.1},
}


@pytest.fixture(params=[*WAYS, MIXED])
def way(request, monkeypatch):
    """Every product, however small, is computed by these ways."""
    compute_by(request.param, monkeypatch)
    return request.param


def embeddings(size, num_passages, dim):
    generator = torch.Generator().manual_seed(size)
    queries = torch.randn(size, dim, generator=generator) / dim**0.5
    passages = torch.randn(num_passages, dim, generator=generator) / dim**0.5
    passages[:size] += queries
    return queries, passages


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (300, 301, 17), (390, 700, 33)])
@pytest.mark.parametrize("case", CASES)
def test_it_equals_the_definition_in_float64(way, shape, case):
    """With 128 rows a chunk, so that the gradient of the passages is added up over chunks."""
    tensors = embeddings(*shape)
    options = {"temperature": 0.1} | CASES[case]
    found, gradients = value_and_grad(*tensors, backend="cpu", max_scratch_bytes=1, **options)
    doubled = [tensor.double() for tensor in tensors]
    loss, exact = value_and_grad(*doubled, backend="reference", **options)
    torch.testing.assert_close(found.double(), loss, rtol=2e-6, atol=2e-7)
    for mine, true in zip(gradients[:2], exact[:2], strict=True):
        assert (mine.double() - true).norm() <= 2e-6 * true.norm() + 1e-7
    if shape[0] > 1:
        assert {question.partition(" ")[0] for question in choices()} == {"nt", "nn", "tn"}


def test_two_calls_give_the_same_bits(way):
    queries, passages = embeddings(390, 700, 33)
    first, second = (
        value_and_grad(queries, passages, backend="cpu", max_scratch_bytes=1) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert all(map(torch.equal, first[1][:2], second[1][:2]))


def test_passages_in_any_layout(way):
    queries, passages = embeddings(140, 150, 33)
    expected = value_and_grad(queries, passages, backend="cpu")
    wide = torch.cat([passages, passages], dim=1)
    for laid_out in (passages.T.contiguous().T, wide[:, :33], wide[:, 33:]):
        found = value_and_grad(queries, laid_out, backend="cpu")
        torch.testing.assert_close(found[0], expected[0])
        torch.testing.assert_close(found[1].passages, expected[1].passages)


def test_gradients_of_several_chunks_are_not_copied(way):
    """What is added up in place is what becomes the gradient, in the layout of the passages."""
    queries, passages = (tensor.requires_grad_() for tensor in embeddings(300, 320, 16))
    info_nce(queries, passages, backend="cpu", max_scratch_bytes=1).backward()
    assert passages.grad.is_contiguous()
    assert queries.grad.is_contiguous()


def test_compiled_it_measures_inside_its_operator(monkeypatch, tmp_path):
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.delenv("HYBRID_FAST_WAYS")
    queries, passages = embeddings(300, 320, 16)
    compiled = torch.compile(info_nce, backend="eager", fullgraph=True)
    found = compiled(queries, passages, backend="cpu")
    assert {choice.source for choice in choices().values()} == {"measured"}
    assert torch.equal(found, info_nce(queries, passages, backend="cpu"))


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_a_wrong_variable_is_an_error_at_every_size(monkeypatch, precision):
    monkeypatch.setenv("HYBRID_FAST_WAYS", "onednm")
    with pytest.raises(ValueError, match="HYBRID_FAST_WAYS is 'onednm'"):
        info_nce(*embeddings(3, 4, 5), backend="cpu", precision=precision)


def _loss_of_worker(_):
    queries, passages = embeddings(300, 320, 16)
    return value_and_grad(queries, passages, backend="cpu")[1].passages.tolist()


def test_a_forked_worker_follows_its_parent(monkeypatch, tmp_path):
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    monkeypatch.delenv("HYBRID_FAST_WAYS")
    expected = _loss_of_worker(0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(_loss_of_worker, [0]) == [expected]


def test_a_positive_far_below_keeps_its_digits_in_float64():
    """Losses of 20 to 60, whose last digits come from terms of exp(-20) and less."""
    queries, passages = (tensor.double() for tensor in embeddings(40, 40, 4))
    options = {"temperature": 0.03, "symmetric": True, "reduction": "none"}
    found, expected = (
        info_nce(-queries, passages, backend=backend, **options) for backend in ("cpu", "reference")
    )
    assert (expected > 40).any()
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
