"""Communication of ranks: without others nothing changes; two ranks agree."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import nn

from hybrid_fast.training.collectives import (
    any_rank,
    average_gradients,
    first_on_each_machine,
    from_first_rank,
    num_ranks,
    of_ranks,
    rank,
    smallest_of_ranks,
)
from hybrid_fast.training.termination import leave_process_group

CPU = torch.device("cpu")


def test_one_process_alone_sends_nothing():
    assert num_ranks() == 1
    assert rank() == 0
    assert of_ranks({"way": 1}) == [{"way": 1}]
    assert any_rank([True, False], CPU) == [True, False]
    assert smallest_of_ranks([7, 3], CPU) == [7, 3]
    assert from_first_rank(lambda: {"map": 0.5}) == {"map": 0.5}


def agree(number: int, world_size: int) -> dict[str, Any]:
    dist.init_process_group("gloo")
    record = {
        "num_ranks": num_ranks(),
        "is_right": rank() == number,
        "all": of_ranks([number] * (number + 1)),
        "flags": any_rank([number == 1, False], CPU),
        "sizes": smallest_of_ranks([10 + number, 20 - number], CPU),
        "first": from_first_rank(lambda: f"rank {number}"),
    }
    with first_on_each_machine(number):
        record["first through the door"] = time.monotonic()
        time.sleep(0.2)
    leave_process_group()
    return record


def test_two_ranks_agree():
    first, second = run_ranks(agree, 2)
    times = [record.pop("first through the door") for record in (first, second)]
    assert times[1] - times[0] >= 0.2
    expected = {
        "num_ranks": 2,
        "is_right": True,
        "all": [[0], [1, 1]],
        "flags": [True, False],
        "sizes": [10, 19],
        "first": "rank 0",
    }
    assert first == second == expected


class Weights(nn.Module):
    """Weights of all dtypes, one whose rows are sparse, one of one rank, and one of none."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.single = nn.Parameter(torch.ones(2, 2))
        self.narrow = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        self.table = nn.Embedding(6, 2, sparse=True)
        self.of_one_rank = nn.Parameter(torch.ones(2))
        self.of_none = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)


def rank_gradients(rank: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(rank)
    rows = torch.tensor([[0, 3], [3, 5]][rank])
    values = torch.randn(2, 2, generator=generator)
    return {
        # One more digit than float32 holds.
        "wide": torch.randn(3, dtype=torch.float64, generator=generator) + 1e-9,
        "single": torch.randn(2, 2, generator=generator),
        "narrow": torch.randn(4, generator=generator).bfloat16(),
        "table.weight": torch.sparse_coo_tensor(rows[None], values, (6, 2), check_invariants=True),
        **({"of_one_rank": torch.tensor([3.0, 1.0])} if rank == 1 else {}),
    }


def average(rank: int, world_size: int) -> dict[str, torch.Tensor]:
    dist.init_process_group("gloo")
    model = Weights()
    gradients = rank_gradients(rank)
    for name, parameter in model.named_parameters():
        parameter.grad = gradients.get(name)
    average_gradients(model)
    leave_process_group()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_gradients_keep_dtype_and_layout_and_equal_those_of_one_process():
    first, second = run_ranks(average, 2)
    parts = [rank_gradients(rank) for rank in range(2)]
    assert first.keys() == second.keys() == {*parts[1]}
    for name, found in first.items():
        assert torch.equal(found.to_dense(), second[name].to_dense())
        given = parts[1][name]
        assert (found.dtype, found.layout) == (given.dtype, given.layout)
        parts_of_all = [part[name].to_dense().double() for part in parts if name in part]
        expected = torch.stack(parts_of_all).sum(dim=0) / 2
        assert torch.equal(found.to_dense(), expected.to(found.dtype))
    assert first["table.weight"].coalesce().indices().tolist() == [[0, 3, 5]]


def averages_of_the_unused(rank: int, world_size: int) -> list[float]:
    """Train a model with a weight that no loss depends on, which one process leaves alone."""
    dist.init_process_group("gloo")
    model = Weights()
    optimizer = torch.optim.AdamW([model.single, model.of_none], weight_decay=0.5)
    model.single.sum().backward()
    average_gradients(model)
    optimizer.step()
    leave_process_group()
    return model.of_none.tolist()


def test_a_weight_that_nothing_depends_on_does_not_decay_as_in_one_process():
    assert run_ranks(averages_of_the_unused, 2) == [[1.0, 1.0]] * 2
