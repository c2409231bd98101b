"""Communication of ranks: without others nothing changes; two ranks agree."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ranks import become_rank
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


def agree(rank: int, world_size: int, folder: Path, port: int) -> None:
    become_rank(rank, world_size, port)
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
    (folder / f"{rank}.json").write_text(json.dumps(record))
    dist.destroy_process_group()


def test_two_ranks_agree(tmp_path, free_port):
    mp.spawn(agree, args=(2, tmp_path, free_port), nprocs=2)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == {
            "num_ranks": 2,
            "flags": [True, False],
            "sizes": [10, 19],
            "first": "rank 0",
            "gradients": [[[0.5, 0.5]], [0.0, 0.0, 0.0]],
        }
