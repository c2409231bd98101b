"""Commands that a launcher has started several times: shared, or refused."""

from __future__ import annotations

import json
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks

from hybrid_fast.cli import main
from hybrid_fast.common.locks import sole_use


@pytest.mark.parametrize(
    "command",
    [
        ("sweep", "recipe.yaml", "--out", "out"),
        ("demo", "--out", "out"),
        ("plan", "recipe.yaml"),
        ("report", "out", "--out", "page"),
        ("evaluate-run", "run", "qrels"),
        ("evaluate-reader", "reader", "--data", "file"),
    ],
)
@pytest.mark.parametrize(
    ("launcher", "variables"),
    [
        ("torchrun", {"WORLD_SIZE": "2", "RANK": "0"}),
        ("srun", {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}),
    ],
)
def test_what_processes_cannot_share_runs_in_one(
    project, fails, monkeypatch, command, launcher, variables
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    message = fails(*command)
    assert message == (
        f"{command[0]} runs in one process, and {launcher} has started 2; start it without "
        f"{launcher}"
    )
    assert not (project / "out").exists()


def test_a_process_that_cannot_find_the_others_trains_nothing(project, fails, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "WORLD_SIZE is 2, but RANK is not set" in fails("train", "recipe.yaml", "--out", "out")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert "MASTER_ADDR" in fails("train", "recipe.yaml", "--out", "out")
    assert not (project / "out").exists()


def run_command(rank: int, world_size: int, *arguments: str) -> list[str]:
    """Return what a command writes to stdout and stderr."""
    torch.accelerator.is_available = lambda: False  # in another process there is no fixture
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        main(arguments)
    return [out.getvalue(), err.getvalue()]


def test_train_is_shared_on_a_cpu_that_nobody_asked_for(project, write_recipe):
    recipe = write_recipe("use_cpu: false", "bf16: true", "max_steps: 4")
    (out, err), (other_out, other_err) = run_ranks(
        run_command, 2, "train", str(recipe), "--out", str(project / "out")
    )
    assert "with 7 in-batch negatives (shared over 2 processes)" in err
    assert "step 4 of 4" in err
    assert "trained model:" in out
    assert other_out == ""
    assert "step" not in other_err
    assert json.loads((project / "out" / "results.json").read_text())["counts"]["pool"]
    assert sorted(path.name for path in (project / "out" / "model").glob("*.safetensors"))


def fail_to_train(rank: int, world_size: int, *arguments: str) -> list[Any]:
    """Return the status of a command that fails, its message, and how long it took."""
    torch.accelerator.is_available = lambda: False
    started = time.monotonic()
    with redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as ended:
        main(arguments)
    return [ended.value.code, err.getvalue(), time.monotonic() - started]


def test_a_folder_in_use_ends_all_processes(project):
    with sole_use(project / "out"):
        first, second = run_ranks(
            fail_to_train, 2, "train", str(project / "recipe.yaml"), "--out", str(project / "out")
        )
    assert first[0] != 0
    assert second[0] != 0
    assert "out is in use by process" in first[1]
    assert "out is in use by process" in second[1]
    assert max(first[2], second[2]) < 60


def test_evaluate_is_shared_and_written_once(model):
    arguments = ["evaluate", "m", "--task", "xquad-r", "--data", "task", "--out"]
    first, second = run_ranks(run_command, 2, *arguments, "two")
    assert "report: two" in first[0]
    assert second[0] == ""
    main([*arguments, "one"])
    one, two = (json.loads(Path(out, "results.json").read_text()) for out in ("one", "two"))
    assert one["metrics"] == two["metrics"]
    assert one["counts"] == two["counts"]


def test_memory_that_runs_out_is_one_line(project, fails, monkeypatch):
    def run_out(*arguments: object) -> None:
        raise torch.OutOfMemoryError("memory does not suffice; set micro_batch_tokens lower")

    monkeypatch.setattr("hybrid_fast.cli.runs.run_recipe", run_out)
    message = fails("train", "recipe.yaml", "--out", "out")
    assert message == "memory does not suffice; set micro_batch_tokens lower"
    monkeypatch.setattr("hybrid_fast.cli.runs.run_recipe", lambda *a: bytearray(2**62))
    assert fails("train", "recipe.yaml", "--out", "out") == "memory ran out"


def test_other_errors_of_the_runtime_keep_their_traceback(project, monkeypatch):
    def break_down(*arguments: object) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("hybrid_fast.cli.runs.run_recipe", break_down)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        main(["train", "recipe.yaml", "--out", "out"])
