"""Owners and rows that keep none but their own hard negatives, on 2 and 4 ranks.

Batches are uneven; a rank may have no hard negatives, or no row in the batch. Each rank's loss and
gradients are those of the global batch, of which the literal definition knows.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributed as dist
from loss_gradients import DIFFERENTIABLE, loss_and_gradients, true_shares_and_gradients
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
KINDS = ("owners", "rows", "rows of rank 0", "every rule", "shared positives")


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
        part["weights"] = torch.rand(num_queries, generator=generator, dtype=torch.float64) + 0.1
        owners = torch.arange(num_passages) % num_queries
        part["owners"] = owners.index_fill(0, torch.arange(num_queries), -1)
        if kind != "owners":  # none of rank 2, one of rank 1, every second of the others
            part["in_batch"] = (torch.arange(num_queries) % 2 == 0) & (rank != 2)
        if kind == "rows of rank 0" and rank > 0:  # who then need not be given any
            part["in_batch"] = torch.ones(num_queries, dtype=torch.bool)
        if kind == "every rule":
            part |= {"query_groups": ids(num_queries), "passage_groups": ids(num_passages)}
            part["passage_ids"] = ids(num_passages)
            part["mask"] = torch.rand(num_queries, width, generator=generator) < 0.2
        if kind == "shared positives":
            part["positives"] = torch.arange(num_queries) // 2
        parts.append(part)
    return parts


def leaves(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    changed = {name: tensors[name].requires_grad_() for name in DIFFERENTIABLE if name in tensors}
    return tensors | changed


def temperature():
    return torch.tensor(0.7, dtype=torch.float64, requires_grad=True)


def work(rank: int, world_size: int):
    """Return loss and gradients of this rank by kind and case."""
    dist.init_process_group("gloo")
    loss = partial(info_nce, process_group=dist.group.WORLD)
    found = []
    for kind in KINDS:
        for options, reduction, backend in CASES:
            arguments = leaves(inputs(kind, world_size)[rank]) | OPTIONS[options]
            if kind == "rows of rank 0" and rank > 0:
                del arguments["in_batch"]
            arguments |= {
                "temperature": temperature(), "reduction": reduction, "backend": backend
            }  # fmt: skip
            found.append(loss_and_gradients(loss, arguments))
    dist.destroy_process_group()
    return found


@pytest.fixture(scope="module", params=[2, 4])
def found(request):
    """Return what `work` does, by rank."""
    return run_ranks(work, request.param)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_ranks_are_one(found, kind, options, reduction):
    world_size = len(found)
    given = {name: value for name, value in OPTIONS[options].items() if name != "recompute"}
    parts = [leaves(part) for part in inputs(kind, world_size)]
    expected = true_shares_and_gradients(parts, temperature(), reduction=reduction, **given)
    for backend in ("cpu", "reference"):
        place = KINDS.index(kind) * len(CASES) + CASES.index((options, reduction, backend))
        ours = [of_rank[place] for of_rank in found]
        # Each rank knows its part of what all share.
        total = sum(part["temperature"] for part in ours)
        for part, truth in zip(ours, expected, strict=True):
            assert part.keys() == truth.keys()
            for name, value in (part | {"temperature": total}).items():
                torch.testing.assert_close(value, truth[name], rtol=1e-11, atol=1e-12)
