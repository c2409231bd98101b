"""Where a process trains: on an accelerator if there is one, among the processes of its launcher.

transformers leaves the CPU to those who ask for it; without an accelerator it then neither trains
in bfloat16 nor joins the processes that a launcher has started, each of which would train alone.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from transformers import TrainingArguments
from transformers.utils import is_torch_xla_available, strtobool

from hybrid_fast import cpu
from hybrid_fast.common.launch import TO_RUN_ALONE, find_launch
from hybrid_fast.retrieval.endings import bind
from hybrid_fast.training.collectives import all_ranks

DEFAULT_TIMEOUT = timedelta(minutes=30)
_DEFAULT_PORT = "29500"  # accelerate's


def trains_on_cpu() -> bool:
    """Tell whether there is no accelerator, or `accelerate launch --cpu` asks for the CPU."""
    if strtobool(os.environ.get("ACCELERATE_USE_CPU", "False")):
        return True
    return not (torch.accelerator.is_available() or is_torch_xla_available())


def say_if_emulated(args: TrainingArguments, checkpoint: Path | None) -> None:
    """Warn once if training runs on a CPU that emulates the bfloat16 it is to compute in.

    Args:
        args: of the training.
        checkpoint: that it goes on from; None: it starts.
    """
    if args.device.type == "cpu" and args.mixed_precision == "bf16":
        given = "bf16=True" if args.bf16 else "ACCELERATE_MIXED_PRECISION=bf16"
        instead = "Set bf16=False" if args.bf16 else "Leave it out"
        if args.bf16 and checkpoint is not None:
            instead = f"{checkpoint} is followed with bf16=True alone; start anew to set bf16=False"
        cpu.say_if_emulated(torch.bfloat16, given, instead)


def join_ranks(
    *, on_cpu: bool, timeout: timedelta | None = None, backend: str | None = None
) -> None:
    """Join the processes that a launcher has started; without others nothing happens.

    The variables of other launchers are translated to torchrun's, which torch and accelerate read,
    and each process gets an accelerator of its own if there are any. Only the process group of the
    CPU is made here, since transformers makes it without a timeout.

    Args:
        on_cpu: whether the process group communicates on the CPU.
        timeout: of a collective, also of a process group that exists; None: `DEFAULT_TIMEOUT`, or
            that of the group.
        backend: of the process group; default gloo on the CPU, else what torch has for the device.

    Raises:
        ValueError: the processes cannot find one another.
    """
    if dist.is_initialized():
        group = all_ranks()
        if group is not None and timeout is not None:
            group.set_timeout(timeout)
        return
    launch = find_launch()
    if launch.world_size == 1:
        return
    if "MASTER_ADDR" not in os.environ:
        raise ValueError(
            f"{launch.launcher} has started {launch.world_size} processes, but MASTER_ADDR, the "
            f"host of the first, is not set; set it, or start all with torchrun, or, {TO_RUN_ALONE}"
        )
    os.environ.setdefault("MASTER_PORT", _DEFAULT_PORT)
    os.environ.update(
        WORLD_SIZE=str(launch.world_size),
        RANK=str(launch.rank),
        LOCAL_RANK=str(launch.local_rank),
        LOCAL_WORLD_SIZE=str(launch.local_world_size),
    )
    if torch.accelerator.is_available():
        torch.accelerator.set_device_index(launch.local_rank % torch.accelerator.device_count())
    if on_cpu and backend in (None, "gloo"):
        dist.init_process_group("gloo", timeout=timeout or DEFAULT_TIMEOUT)


def check_joined(world_size: int, device: torch.device) -> None:
    """Check that this process shares its work with all that were started together.

    From now on they know if it ends.

    Args:
        world_size: number of processes that it shares its work with.
        device: where it computes.

    Raises:
        ValueError: there are others, each of which would do all work alone.
    """
    started = find_launch().world_size
    if dist.is_initialized() and dist.get_world_size() != started:
        raise ValueError(
            f"this process belongs to a process group of {dist.get_world_size()} ranks, but the "
            f"variable WORLD_SIZE says {started}; set WORLD_SIZE, RANK and LOCAL_RANK as torchrun "
            "does"
        )
    if world_size != started:
        raise ValueError(
            f"{started} processes were started together, but accelerate knows no communication "
            f"between them on {device}, so each would train alone; set use_cpu=True, or, "
            f"{TO_RUN_ALONE}"
        )
    group = all_ranks()
    if group is not None:
        bind(group)
