"""A backend of one's own, as docs/infonce.md tells how to add it."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loss_gradients import loss_and_gradients
from problem_checks import check
from random_problems import problems
from ranks import run_ranks

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends import registry
from hybrid_fast.ops.backends.registry import Backend
from hybrid_fast.ops.kernels import ColumnPass, Kernels
from hybrid_fast.ops.reference import excluded_columns


class PlainKernels(Kernels):
    """The steps of the chunked loss in plain torch, seven rows at a time."""

    def __init__(self, problem, one_pass):
        self.dtype = problem.compute_dtype
        self.passages = problem.passages.to(self.dtype)
        self.total = torch.zeros_like(self.passages)

    def rows_per_chunk(self):
        return 7

    def masked(self, chunk, logit_scale):
        """Return logits (R, N), -infinity where excluded, and bool (R, N): whether negative."""
        scores = chunk.queries @ self.passages.T
        excluded = excluded_columns(chunk.negative_mask, chunk.positives, scores)
        logits = scores * logit_scale
        if excluded is not None:
            logits = logits.masked_fill(excluded, float("-inf"))
        positives = F.one_hot(chunk.positives, logits.shape[1]).bool()
        return logits, ~positives & ~logits.isneginf()

    def losses(self, chunk, logit_scale):
        logits, _ = self.masked(chunk, logit_scale)
        return F.cross_entropy(logits, chunk.positives, reduction="none")

    def gradients(self, chunk, logit_scale, columns, *, needs_dots):
        logits, negative = self.masked(chunk, logit_scale)
        losses = F.cross_entropy(logits, chunk.positives, reduction="none")
        one_hot = F.one_hot(chunk.positives, logits.shape[1])
        weights = chunk.coefficients[:, None] * (logits.softmax(dim=1) - one_hot)
        if columns is not None:
            shared = self.in_batch(chunk)
            gaps = columns.lse[chunk.positives] - logits.gather(1, chunk.positives[:, None])[:, 0]
            gaps = gaps.masked_fill(~shared | gaps.isposinf(), float("-inf"))
            losses = losses + F.softplus(gaps, threshold=40)
            weights = weights - (chunk.coefficients * gaps.sigmoid())[:, None] * one_hot
            others = (logits - columns.lse).exp() * columns.coefficients
            weights = weights + others.where(negative & shared[:, None], 0)
        dots = (weights * logits).where(weights != 0, 0).sum(dim=1)
        return losses, dots, weights

    def add_column_sums(self, chunk, logit_scale, sums, *, keep):
        logits, negative = self.masked(chunk, logit_scale)
        kept = logits.where(negative & self.in_batch(chunk)[:, None], float("-inf"))
        sums[0] = torch.logaddexp(sums[0] + sums[1].log(), kept.logsumexp(dim=0))
        sums[1] = 1.0
        return ColumnPass(logits.gather(1, chunk.positives[:, None])[:, 0], losses=None)

    def in_batch(self, chunk):
        given = chunk.negative_mask.in_batch
        return torch.ones(len(chunk.positives), dtype=torch.bool) if given is None else given

    def query_gradient(self, weights, logit_scale):
        return weights @ self.passages * logit_scale

    def add_passage_gradient(self, weights, queries):
        self.total += weights.T @ queries

    def passage_gradient(self, logit_scale):
        return self.total * logit_scale


@pytest.fixture(autouse=True)
def plain_backend(monkeypatch):
    backend = Backend(PlainKernels, ("cpu",), precisions=(None,))
    monkeypatch.setitem(registry.BACKENDS, "plain", backend)


# In half precision it would have to round what it multiplies as the definition does.
@given(problem=problems(dtype=st.just(torch.float64), precision=st.none()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_new_backend_computes_any_problem(problem):
    check(problem, "plain")


def test_it_is_asked_for_by_name_and_refuses_what_it_does_not_know():
    queries = torch.eye(3)
    assert info_nce(queries, queries, backend="plain").item() == pytest.approx(
        info_nce(queries, queries, backend="reference").item()
    )
    with pytest.raises(ValueError, match="backend 'plain' does not support precision 'bf16'"):
        info_nce(queries, queries, backend="plain", precision="bf16")


def share_of_rank(rank, world_size):
    """Return loss and gradients of a rank, by the definition and by the new backend."""
    registry.BACKENDS["plain"] = Backend(PlainKernels, ("cpu",), precisions=(None,))
    dist.init_process_group("gloo")
    num_queries, num_passages = ((9, 12), (4, 4))[rank]
    generator = torch.Generator().manual_seed(rank)
    arguments = {
        "queries": torch.randn(num_queries, 5, generator=generator).double().requires_grad_(),
        "passages": torch.randn(num_passages, 5, generator=generator).double().requires_grad_(),
        "passage_ids": torch.randint(6, (num_passages,), generator=generator),
        "owners": torch.where(torch.arange(num_passages) < num_queries, -1, 3),
        "in_batch": torch.arange(num_queries) != 3 - rank,
        "symmetric": True,
        "process_group": dist.group.WORLD,
    }
    found = [
        loss_and_gradients(info_nce, arguments | {"backend": backend})
        for backend in ("reference", "plain")
    ]
    dist.destroy_process_group()
    return found


def test_it_computes_its_share_on_ranks():
    for expected, found in run_ranks(share_of_rank, 2):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


def test_it_is_compiled():
    torch._dynamo.reset()
    queries = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(5, 4).sin().requires_grad_()

    def function(queries):
        return info_nce(queries, queries.flip(1), backend="plain", symmetric=True)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for one in (function, compiled):
        (gradient,) = torch.autograd.grad(one(queries), queries)
        expected = info_nce(queries, queries.flip(1), backend="reference", symmetric=True)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, queries)[0])
