"""What launchers say, in their own variables."""

from __future__ import annotations

import pytest

from hybrid_fast.common.launch import Launch, find_launch

TORCHRUN = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


@pytest.mark.parametrize(
    ("variables", "launcher"),
    [
        (TORCHRUN, "torchrun"),
        (OPEN_MPI, "mpirun of Open MPI"),
        (SRUN, "srun"),
        (SRUN | TORCHRUN, "torchrun"),  # one torchrun a machine, started by srun
    ],
)
def test_a_launcher_says_which_process_this_is(variables, launcher):
    assert find_launch(variables) == Launch(launcher, 4, 3, 1, 2)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0"},
        SRUN | {"WORLD_SIZE": "1"},  # the way out
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a script of sbatch, without srun
        {"SLURM_NTASKS": "8"},  # a shell of salloc
    ],
)
def test_a_process_alone(variables):
    launch = find_launch(variables)
    assert (launch.world_size, launch.rank) == (1, 0)


def test_tasks_of_srun_without_the_variables_of_a_step():
    assert find_launch({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}).world_size == 2
    by_srun = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"}
    assert find_launch(by_srun).world_size == 2


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK is not set.*set WORLD_SIZE=1"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'; a whole number is needed"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK is 2, but WORLD_SIZE is 2; ranks count from 0"),
        ({"PMI_SIZE": "2", "PMI_RANK": "-1"}, "PMI_RANK is '-1'; a whole number"),
    ],
)
def test_variables_that_contradict_each_other(variables, message):
    with pytest.raises(ValueError, match=message):
        find_launch(variables)
