"""Processes that a test starts as ranks of one training."""

from __future__ import annotations

import os

import torch


def become_rank(rank: int, world_size: int, port: int) -> None:
    """Say what `torchrun` would: who this process is, and where it meets the others."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",  # else accelerate gives each rank all cores
    )
    torch.set_num_threads(1)
