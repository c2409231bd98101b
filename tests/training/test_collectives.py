"""Communication of ranks: without others nothing changes; two ranks agree."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import nn

from hybrid_fast.training.collectives import (
    any_rank,
    average_gradients,
    from_first_rank,
    num_ranks,
    smallest_of_ranks,
)

CPU = torch.device("cpu")


def test_one_process_alone_sends_nothing():
    assert num_ranks() == 1
    assert any_rank([True, False], CPU) == [True, False]
    assert smallest_of_ranks([7, 3], CPU) == [7, 3]
    assert from_first_rank(lambda: {"map": 0.5}) == {"map": 0.5}


def agree(rank: int, world_size: int) -> dict[str, Any]:
    dist.init_process_group("gloo")
    model = nn.Linear(2, 1, bias=False)
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    model.weight.grad = torch.full((1, 2), float(rank))
    average_gradients(model)
    record = {
        "num_ranks": num_ranks(),
        "flags": any_rank([rank == 1, False], CPU),
        "sizes": smallest_of_ranks([10 + rank, 20 - rank], CPU),
        "first": from_first_rank(lambda: f"rank {rank}"),
        "gradients": [model.weight.grad.tolist(), model.unused.grad.tolist()],
    }
    dist.destroy_process_group()
    return record


def test_two_ranks_agree():
    for record in run_ranks(agree, 2):
        assert record == {
            "num_ranks": 2,
            "flags": [True, False],
            "sizes": [10, 19],
            "first": "rank 0",
            "gradients": [[[0.5, 0.5]], [0.0, 0.0, 0.0]],
        }
