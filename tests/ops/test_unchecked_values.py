"""Values that nobody has looked at, as under torch.compile: no memory is harmed, no NaN is lost."""

from __future__ import annotations

import math

import pytest
import torch

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends.cpu_bf16 import has_bf16_product, multiply, pack

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


@pytest.fixture
def unchecked(monkeypatch):
    """What torch.compile sees of `info_nce`."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


def embeddings(dtype, num_passages=37):
    generator = torch.Generator().manual_seed(0)
    queries, passages = (torch.randn(n, 9, generator=generator) for n in (5, num_passages))
    return queries.to(dtype), passages.to(dtype)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("where", ["query", "negative", "last negative", "positive"])
@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"margin": 0.5}], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_nan_reaches_the_losses_of_its_rows(dtype, options, where):
    queries, passages = embeddings(dtype)
    if where == "query":
        queries[3, 1] = math.nan
    else:
        passages[{"negative": 10, "last negative": -1, "positive": 3}[where], 1] = math.nan
    for leaf in (queries, passages):
        leaf.requires_grad_()
    losses = info_nce(queries, passages, reduction="none", backend="cpu", **options)
    expected = info_nce(queries, passages, reduction="none", backend="reference", **options)
    assert torch.equal(losses.isnan(), expected.isnan())
    assert losses.isnan().any()
    for loss in (losses.sum(), info_nce(queries, passages, backend="cpu", **options)):
        assert loss.isnan()
        assert any(g.isnan().any() for g in torch.autograd.grad(loss, (queries, passages)))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("column", [-1, 37, 2**40])
def test_a_positive_that_is_no_column_is_an_error(column, dtype):
    queries, passages = embeddings(dtype)
    positives = torch.tensor([0, 1, 2, column, 4])
    message = f"positives has column {column}; they must be columns of passages, 0 to 36"
    for options in ({}, {"symmetric": True}):
        with pytest.raises(ValueError, match=message):
            info_nce(queries, passages, positives=positives, backend="cpu", **options)


@pytest.mark.skipif(not has_bf16_product(), reason="needs AMX or AVX-512 BF16")
def test_products_of_other_shapes_are_errors():
    packed = pack(torch.ones(7, 4, dtype=torch.bfloat16))
    with pytest.raises(ValueError, match="rows have 5 coordinates; they need 4"):
        multiply(torch.ones(2, 5, dtype=torch.bfloat16), packed)
    with pytest.raises(ValueError, match=r"out has the shape \(2, 6\); it needs \(2, 7\)"):
        multiply(torch.ones(2, 4, dtype=torch.bfloat16), packed, torch.ones(2, 6))
    with pytest.raises(TypeError, match="rows is float32"):
        multiply(torch.ones(2, 4), packed)
    with pytest.raises(ValueError, match=r"columns has rows 16 and columns 2 numbers apart"):
        pack(torch.ones(6, 8, dtype=torch.bfloat16)[::2, ::2])
