"""Processes that a test starts as ranks of one training.

They are forked from a server that has imported the library once: a rank starts in no time, and
knows nothing of other tests.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

multiprocessing.set_forkserver_preload(["hybrid_fast.training", "pytest"])
# Ranks look for functions of tests where pytest says that they are, in tests.training... and so on;
# last, so that the installed package comes before that of the checkout.
sys.path.append(str(Path(__file__).parents[2]))
LIMIT_S = 120  # then a rank that still waits for the others is ended by SIGALRM


def run_ranks(work: Callable[..., Any], world_size: int, *arguments: Any) -> list[Any]:
    """Return `work(rank, world_size, *arguments)` of each rank, which finds `torchrun`'s variables.

    Results are what `torch.save` writes: numbers, texts, tensors, and lists and dicts of them.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(
            run_rank,
            args=(work, world_size, port, Path(folder), arguments),
            nprocs=world_size,
            start_method="forkserver",
        )
        return [torch.load(Path(folder) / str(rank)) for rank in range(world_size)]


def run_rank(
    rank: int, work: Callable[..., Any], world_size: int, port: int, folder: Path, arguments: Any
) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",  # else accelerate gives each rank all cores
    )
    torch.set_num_threads(1)
    signal.alarm(LIMIT_S)
    torch.save(work(rank, world_size, *arguments), folder / str(rank))


def launch(work: Callable[..., Any], num_ranks: int, *arguments: Any) -> None:
    """Run `work(*arguments)` on ranks as `torchrun` does, of which it is the launcher.

    Raises:
        ChildFailedError: a rank failed; the others have been ended.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="test",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="forkserver",
    )
    elastic_launch(config, _work_within_limit)(work, *arguments)


def _work_within_limit(work: Callable[..., Any], *arguments: Any) -> None:
    signal.alarm(LIMIT_S)
    work(*arguments)
