"""What a launcher says of the processes that it has started, in the variables that it sets.

torchrun and `accelerate launch` set the first four; mpirun and srun have names of their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

# By launcher: world size, rank, rank on this machine, processes on this machine.
_VARIABLES = {
    "torchrun": ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "mpirun of Open MPI": (
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpirun of MVAPICH": (
        "MV2_COMM_WORLD_SIZE",
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_LOCAL_RANK",
        "MV2_COMM_WORLD_LOCAL_SIZE",
    ),
    "mpirun": ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
}
_SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")
TO_RUN_ALONE = "to run this process alone, set WORLD_SIZE=1"


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together.

    Attributes:
        launcher: what started them.
        world_size: how many there are.
        rank: number of this process, from 0.
        local_rank: its number among those of this machine.
        local_world_size: how many of them run on this machine.
    """

    launcher: str = "no launcher"
    world_size: int = 1
    rank: int = 0
    local_rank: int = 0
    local_world_size: int = 1


def find_launch(variables: Mapping[str, str] = os.environ) -> Launch:
    """Return what the launcher says; a process that was started by hand is alone.

    Raises:
        ValueError: variables are missing or contradict each other.
    """
    for launcher, names in _VARIABLES.items():
        if names[0] in variables:
            return _read(launcher, names, variables)
    if "SLURM_PROCID" in variables and (size := _size_of_step(variables)):
        return _read("srun", (size, *_SLURM[1:]), variables)
    return Launch()


def _size_of_step(variables: Mapping[str, str]) -> str | None:
    """Return the variable that says how many tasks srun has started; None without srun.

    Within sbatch, too, SLURM_NTASKS is set, although nothing but the script was started.
    """
    if _SLURM[0] in variables:
        return _SLURM[0]
    by_srun = "SLURM_STEP_ID" in variables or variables["SLURM_PROCID"] != "0"
    return "SLURM_NTASKS" if by_srun and "SLURM_NTASKS" in variables else None


def _read(launcher: str, names: tuple[str, ...], variables: Mapping[str, str]) -> Launch:
    size_name, rank_name, local_rank_name, local_size_name = names
    world_size = _number(size_name, variables[size_name])
    if world_size <= 1:
        return Launch(launcher)
    if rank_name not in variables:
        raise ValueError(
            f"{size_name} is {world_size}, but {rank_name} is not set, so this process does not "
            f"know which of them it is; start all with torchrun, or, {TO_RUN_ALONE}"
        )
    rank = _number(rank_name, variables[rank_name])
    if rank >= world_size:
        raise ValueError(
            f"{rank_name} is {rank}, but {size_name} is {world_size}; ranks count from 0"
        )
    local_rank = _number(local_rank_name, variables.get(local_rank_name, "0"))
    # srun writes "4(x2)" for two machines of four tasks.
    local_size = variables.get(local_size_name, "1").partition("(")[0].partition(",")[0]
    return Launch(launcher, world_size, rank, local_rank, _number(local_size_name, local_size))


def _number(name: str, text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"the variable {name} is {text!r}; a whole number is needed")
    return int(text)
