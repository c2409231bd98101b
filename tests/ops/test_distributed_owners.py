"""Owners and rows that keep none but their own hard negatives, on 2 and 4 ranks.

Batches are uneven; a rank may have no hard negatives, or no row in the batch. Each rank's loss and
gradients are those of the global batch, of which the literal definition knows.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributed as dist
from literal_loss import as_one, literal_loss
from random_problems import DIFFERENTIABLE, loss_and_gradients
from ranks import run_ranks

from hybrid_fast.ops import info_nce

QUERIES, PASSAGES = (5, 1, 7, 3), (9, 1, 7, 6)  # two ranks have no hard negatives
OPTIONS = {
    "margin": {"margin": 0.1},
    "normalize": {"margin": 0.05, "normalize": True},
    "hard only": {"negatives": "hard_only"},
    "symmetric": {"symmetric": True},
    "symmetric, margin": {"symmetric": True, "margin": -0.2},
    "recompute": {"symmetric": True, "margin": 0.1, "recompute": True},
}
CASES = [
    (options, reduction, backend)
    for options in OPTIONS
    for reduction in ("none", "sum", "mean")
    for backend in ("cpu", "reference")
]
# What each rank is given besides its owners, by rank: rows in the batch, and other rules.
KINDS = ("owners", "rows", "every rule", "shared positives")


def inputs(kind: str, world_size: int) -> list[dict[str, torch.Tensor]]:
    """Return the tensors of each rank."""
    generator = torch.Generator().manual_seed(world_size)
    width = sum(PASSAGES[:world_size])

    def ids(size):
        return torch.randint(-1, 4, (size,), generator=generator)

    parts = []
    for rank, (num_queries, num_passages) in enumerate(
        zip(QUERIES[:world_size], PASSAGES[:world_size], strict=True)
    ):
        queries, passages = (
            torch.randn(size, 6, generator=generator, dtype=torch.float64)
            for size in (num_queries, num_passages)
        )
        part = {"queries": queries / 2, "passages": passages / 2}
        part["temperature"] = torch.tensor(0.7, dtype=torch.float64)
        part["weights"] = torch.rand(num_queries, generator=generator, dtype=torch.float64) + 0.1
        owners = torch.arange(num_passages) % num_queries
        part["owners"] = owners.index_fill(0, torch.arange(num_queries), -1)
        if kind != "owners":  # none of rank 2, one of rank 1, every second of the others
            part["in_batch"] = (torch.arange(num_queries) % 2 == 0) & (rank != 2)
        if kind == "every rule":
            part |= {"query_groups": ids(num_queries), "passage_groups": ids(num_passages)}
            part["passage_ids"] = ids(num_passages)
            part["mask"] = torch.rand(num_queries, width, generator=generator) < 0.2
        if kind == "shared positives":
            part["positives"] = torch.arange(num_queries) // 2
        parts.append(part)
    return parts


def leaves(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {name: tensors[name].detach().requires_grad_() for name in DIFFERENTIABLE}


def work(rank: int, world_size: int):
    """Return loss and gradients of this rank by kind and case."""
    dist.init_process_group("gloo")
    loss = partial(info_nce, process_group=dist.group.WORLD)
    found = []
    for kind in KINDS:
        for options, reduction, backend in CASES:
            arguments = leaves(inputs(kind, world_size)[rank]) | OPTIONS[options]
            arguments |= {"reduction": reduction, "backend": backend}
            found.append(loss_and_gradients(loss, arguments))
    dist.destroy_process_group()
    return found


@pytest.fixture(scope="module", params=[2, 4])
def found(request):
    """Return what `work` does, by rank."""
    return run_ranks(work, request.param)


def true_parts(kind: str, options: str, reduction: str, world_size: int) -> list[dict]:
    """Return for each rank what the definition gives for the global batch."""
    parts = [leaves(part) for part in inputs(kind, world_size)]
    given = {name: value for name, value in OPTIONS[options].items() if name != "recompute"}
    temperature = parts[0]["temperature"]
    loss = literal_loss(**as_one(parts), temperature=temperature, reduction=reduction, **given)
    upstream, losses, factor = torch.ones(()), [loss] * world_size, world_size
    if reduction == "none":
        sizes = QUERIES[:world_size]
        upstream = torch.cat([torch.linspace(1, 2, size, dtype=loss.dtype) for size in sizes])
        losses, factor = loss.split(sizes), 1  # elsewhere the mean of the ranks is the loss
    names = ("queries", "passages", "weights")
    wanted = [temperature] + [part[name] for part in parts for name in names]
    of_temperature, *gradients = torch.autograd.grad(
        loss, wanted, upstream.to(loss), materialize_grads=True
    )
    return [
        {"loss": losses[rank].detach(), "temperature": factor * of_temperature}
        | {name: factor * gradients[3 * rank + place] for place, name in enumerate(names)}
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_ranks_are_one(found, kind, options, reduction):
    world_size = len(found)
    expected = true_parts(kind, options, reduction, world_size)
    for backend in ("cpu", "reference"):
        place = KINDS.index(kind) * len(CASES) + CASES.index((options, reduction, backend))
        ours = [of_rank[place] for of_rank in found]
        # Each rank knows its part of what all share.
        total = sum(part["temperature"] for part in ours)
        torch.testing.assert_close(total, expected[0]["temperature"], rtol=1e-11, atol=1e-12)
        if reduction != "none":
            mean = sum(part["loss"] for part in ours) / world_size
            torch.testing.assert_close(mean, expected[0]["loss"], rtol=1e-12, atol=1e-13)
        names = ("queries", "passages", "weights", *(["loss"] if reduction == "none" else []))
        for part, truth in zip(ours, expected, strict=True):
            for name in names:
                torch.testing.assert_close(part[name], truth[name], rtol=1e-11, atol=1e-12)
