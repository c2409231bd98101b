"""bfloat16 on the CPU against float64 on the same rounded embeddings, converged losses included.

A W that is rounded with its positives costs the gradients 2e-3. What is left is the rounding of the
negatives, whose errors average out: the sharper the softmax, the fewer they are.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends import cpu, cpu_bf16

# Largest relative errors of gradients by temperature.
ROUNDED_NEGATIVES = {0.05: 2e-4, 0.02: 1e-3, 0.01: 1.2e-3, 0.005: 1.2e-3}
UNROUNDED = 5e-5  # float32 scores, whose errors 1 / temperature multiplies


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(cpu, "_FEWEST_ROWS", 40)
    monkeypatch.setattr(cpu, "MOST_ROWS", 100)


def embeddings(noise, num_queries=512, num_passages=512, dim=384, positives=slice(None)):
    """Unit vectors that bfloat16 holds exactly, queries at some distance from their positives."""
    generator = torch.Generator().manual_seed(0)
    passages = F.normalize(torch.randn(num_passages, dim, generator=generator), dim=1)
    apart = F.normalize(torch.randn(num_queries, dim, generator=generator), dim=1)
    queries = F.normalize(passages[positives][:num_queries] + noise * apart, dim=1)
    return queries.bfloat16().float(), passages.bfloat16().float()


def loss_with_all_digits(queries, passages, temperature, *, symmetric):
    """The mean loss of float64, without the cancellation of F.cross_entropy in a small one."""
    logits = queries @ passages.T / temperature
    relative = (logits - logits.diag()[:, None]).exp(), (logits - logits.diag()).exp()
    directions = [
        torch.log1p((part * (1 - torch.eye(len(logits)))).sum(dim)).mean()
        for dim, part in zip((1, 0), relative, strict=True)
    ]
    return sum(directions) / 2 if symmetric else directions[0]


def value_and_gradients(loss, *leaves):
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    value = loss(*leaves)
    upstream = torch.linspace(0.5, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    return [value.detach(), *torch.autograd.grad(value, leaves, upstream)]


def relative_errors(values, truth):
    return [
        ((value.double() - true).norm() / true.norm()).item()
        for value, true in zip(values, truth, strict=True)
    ]


def errors_of_temperature(temperature, noise, symmetric, precision):
    """Errors of loss and gradients of queries, passages and temperature; and the loss."""
    inputs = *embeddings(noise), torch.tensor(temperature)
    truth = value_and_gradients(
        lambda *given: loss_with_all_digits(*given, symmetric=symmetric),
        *(tensor.double() for tensor in inputs),
    )
    options = {"symmetric": symmetric, "backend": "cpu", "precision": precision}
    ours = value_and_gradients(
        lambda q, p, t: info_nce(q, p, temperature=t, **options),
        *inputs,
    )
    return relative_errors(ours, truth), truth[0].item()


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
@pytest.mark.parametrize("noise", [0.7, 2.0, 20.0])
@pytest.mark.parametrize("temperature", ROUNDED_NEGATIVES)
def test_small_losses_keep_their_digits_and_gradients(temperature, noise, symmetric):
    """Losses from 22 down to 2e-17, below which the exponentials of float32 end."""
    errors, loss = errors_of_temperature(temperature, noise, symmetric, "bf16")
    if loss < 1e-20:
        assert noise < 1
        return
    assert errors[0] < 2e-5
    assert errors[3] < 2e-5
    assert max(errors) < ROUNDED_NEGATIVES[temperature], errors
    assert max(errors_of_temperature(temperature, noise, symmetric, None)[0]) < UNROUNDED


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
@pytest.mark.parametrize("temperature", [0.05, 0.01])
def test_nothing_is_rounded_where_the_processor_has_no_products_of_bfloat16(
    temperature, symmetric, monkeypatch
):
    monkeypatch.setattr(cpu_bf16, "has_bf16_product", lambda: False)
    assert max(errors_of_temperature(temperature, 2.0, symmetric, "bf16")[0]) < UNROUNDED


def positives_twice(num_queries):
    """Every passage is the positive of two rows, far apart; the last passages of none."""
    return torch.arange(num_queries) % (num_queries // 2)


def options_of(num_queries, num_passages):
    generator = torch.Generator().manual_seed(1)
    groups = torch.randint(-1, 40, (num_passages,), generator=generator)
    mask = torch.rand(num_queries, num_passages, generator=generator) < 0.3
    mask[5] = True
    twice = positives_twice(num_queries)
    return {
        "hard negatives": {},
        "repeated positives": {"positives": twice},
        "positives anywhere": {"positives": torch.arange(num_queries).flip(0) + 7},
        "groups": {"query_groups": groups[:num_queries], "passage_groups": groups},
        "ids": {"passage_ids": groups, "positives": twice},
        "mask, one row without negatives": {"mask": mask},
        "margin": {"margin": 0.02},
        "hard only": {"negatives": "hard_only"},
        "recompute": {"recompute": True, "positives": twice},
        "rows apart": {"reduction": "none", "positives": twice},
        "sum": {"reduction": "sum"},
        "symmetric": {"symmetric": True},
        "symmetric, repeated positives": {"symmetric": True, "positives": twice},
        "symmetric, masks": {"symmetric": True, "mask": mask, "margin": 0.1},
        "symmetric, rows apart": {"symmetric": True, "reduction": "none", "positives": twice},
    }


@pytest.mark.parametrize("case", options_of(8, 9))
def test_options(case):
    """Weights too, some of them 0; gradients of temperature and weights are those of float32."""
    options = options_of(301, 450)[case]
    positives = options.get("positives", slice(None))
    queries, passages = embeddings(2.0, 301, 450, positives=positives)
    weights = torch.linspace(0, 2, 301).where(torch.arange(301) % 7 > 0, 0)
    inputs = queries, passages, torch.tensor(0.05), weights
    truth, ours = (
        value_and_gradients(
            lambda q, p, t, w, given=given: info_nce(
                q, p, temperature=t, weights=w, **given, **options
            ),
            *(tensor.to(dtype) for tensor in inputs),
        )
        for given, dtype in (
            ({"backend": "reference"}, torch.float64),
            ({"backend": "cpu", "precision": "bf16"}, torch.float32),
        )
    )
    errors = relative_errors(ours, truth)
    assert max(errors[1:3]) < 2.5e-4, errors
    assert max(errors[0], *errors[3:]) < 2e-5, errors
    unweighted = (weights == 0).nonzero().squeeze(1)
    if not options.get("symmetric"):
        assert not ours[1][unweighted].any()


@pytest.mark.parametrize("symmetric", [False, True])
def test_rows_without_negatives_have_no_gradient(symmetric):
    queries, passages = embeddings(2.0, 30, 30, 16)
    mask = torch.ones(30, 30, dtype=torch.bool)
    loss, *gradients = value_and_gradients(
        lambda q, p: info_nce(
            q, p, mask=mask, symmetric=symmetric, precision="bf16", backend="cpu"
        ),
        queries,
        passages,
    )
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients)


def test_bfloat16_embeddings_get_the_gradients_of_float32_rounded_once():
    queries, passages = embeddings(2.0)
    exact, rounded = (
        value_and_gradients(lambda q, p: info_nce(q, p, precision="bf16", backend="cpu"), *leaves)
        for leaves in ((queries, passages), (queries.bfloat16(), passages.bfloat16()))
    )
    assert torch.equal(exact[0], rounded[0])
    for first, second in zip(exact[1:], rounded[1:], strict=True):
        assert torch.equal(first.bfloat16(), second)
