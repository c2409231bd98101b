"""One of several ranks stops, wherever the others are: all end, with its reason, and soon."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import launch, run_rank, run_ranks
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from toy_training import Task, make_args, make_model, make_table
from transformers import TrainerCallback

from hybrid_fast.retrieval.shared_work import shared_work
from hybrid_fast.training import HybridTrainer

SOON_S = 20  # far below `ddp_timeout`


def fail() -> None:
    raise KeyError("cell 7")


class AtStep(TrainerCallback):
    """Does something at one event of the third update, on one rank."""

    def __init__(self, event: str, act: Callable[[], None], rank: int) -> None:
        def once(args: Any, state: Any, control: Any, **_: Any) -> None:
            step = state.global_step + (event in ("on_step_begin", "on_pre_optimizer_step"))
            if step == 3 and int(os.environ["RANK"]) == rank:
                act()

        setattr(self, event, once)


def train(folder: Path, event: str, failing: int, options: dict[str, Any]) -> str:
    """Return what `train` raises, after how long, and where the model is."""
    args = make_args(folder, max_steps=6, **options)
    callbacks = [] if event == "loss" else [AtStep(event, fail, failing)]
    task = Task() if "eval_steps" in options else None
    trainer = HybridTrainer(make_model(), args, make_table(), task, callbacks=callbacks)
    if event == "loss" and int(os.environ["RANK"]) == failing:
        loss, calls = trainer.model.loss.forward, iter(range(99))
        trainer.model.loss.forward = lambda *given, **named: (
            fail() if next(calls) == 2 else loss(*given, **named)
        )
    start = time.monotonic()
    with pytest.raises(Exception, match="cell 7") as caught:
        trainer.train()
    assert time.monotonic() - start < SOON_S
    return f"{caught.type.__name__}: {caught.value}"


def train_on_rank(rank: int, world_size: int, *arguments: Any) -> str:
    return train(*arguments)


@pytest.mark.parametrize(
    ("event", "failing", "options"),
    [
        ("on_step_begin", 1, {}),
        ("on_step_end", 0, {}),
        ("on_pre_optimizer_step", 1, {"gather_negatives": False}),
        ("loss", 1, {"gather_negatives": False}),
        ("loss", 0, {}),
        ("on_step_end", 1, {"eval_strategy": "steps", "eval_steps": 3}),
        ("on_evaluate", 1, {"eval_strategy": "steps", "eval_steps": 3}),
        ("on_save", 0, {"save_strategy": "steps", "save_steps": 3}),
    ],
)
def test_an_exception_of_one_rank_ends_all_with_its_reason(tmp_path, event, failing, options):
    first, second = run_ranks(train_on_rank, 2, tmp_path, event, failing, options)
    assert first.startswith("PartlyDoneError: training ended after step ")
    assert first.endswith("rank 1 of 2: 'cell 7'" if failing else "KeyError: 'cell 7'")
    folder = re.search(r"the model is in (\S+): ", first)[1]
    assert (Path(folder) / "model.safetensors").is_file()
    expected = "KeyError: 'cell 7'" if failing else "RuntimeError: rank 0 of 2: 'cell 7'"
    assert second == expected


def die_while_others_wait(rank: int, world_size: int, dying: int) -> str:
    """Begin work that one process does not live to share; there is no launcher to notice."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=600))
    with shared_work(dist.group.WORLD) as shared:
        shared.meet()
    start = time.monotonic()
    if rank == dying:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="ended") as caught:
        with shared_work(dist.group.WORLD) as shared:
            shared.meet()
    assert time.monotonic() - start < SOON_S
    return str(caught.value)


def told_by(folder: Path, dying: int) -> dict[int, str]:
    """Run three processes by hand, of which one is killed; return what the others say."""
    context = multiprocessing.get_context("forkserver")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    given = (die_while_others_wait, 3, port, folder, (dying,))
    ranks = [context.Process(target=run_rank, args=(rank, *given)) for rank in range(3)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
    assert [process.exitcode for process in ranks][dying] == -signal.SIGKILL
    return {rank: torch.load(folder / str(rank)) for rank in range(3) if rank != dying}


def test_a_rank_that_is_killed_is_missed_by_those_that_wait(tmp_path):
    told = told_by(tmp_path, 1)
    assert told[0].startswith("rank 0 of 3 waits for the others, but rank 1 has ended")
    assert told[2] == f"rank 0 of 3: {told[0]}"


def test_the_first_rank_which_keeps_the_store_is_missed_too(tmp_path):
    for message in told_by(tmp_path, 0).values():
        assert "the launcher or rank 0, has ended" in message or "rank 0 has ended" in message


def kill_under_launcher(folder: Path) -> None:
    trainer = HybridTrainer(
        make_model(),
        make_args(folder, max_steps=100_000, ddp_timeout=600),
        make_table(),
        callbacks=[AtStep("on_step_end", lambda: os.kill(os.getpid(), signal.SIGKILL), 1)],
    )
    try:
        trainer.train()
    except RuntimeError as error:
        (folder / "said").write_text(str(error))
        time.sleep(2)
        raise


def test_a_rank_that_is_killed_in_training_ends_all_and_the_model_is_saved(tmp_path):
    start = time.monotonic()
    with pytest.raises(ChildFailedError, match="SIGKILL"):
        launch(kill_under_launcher, 2, tmp_path)
    assert time.monotonic() - start < SOON_S + 20
    said = (tmp_path / "said").read_text()
    assert "the model is in" in said
    assert "rank 1 has ended, by itself or killed" in said


def wait_in_collective(rank: int, world_size: int, folder: Path) -> float:
    """Give a timeout to a process group that exists; one rank does not come."""
    dist.init_process_group("gloo")
    make_args(folder, ddp_timeout=1)
    start = time.monotonic()
    if rank == 0:
        with pytest.raises(RuntimeError, match="Timed out"):
            dist.all_reduce(torch.ones(1))
    took = time.monotonic() - start
    told = folder / "has waited"
    if rank == 0:
        told.touch()
    while not told.exists():  # one that ended would be missed before the time is out
        time.sleep(0.05)
    return took


def test_the_timeout_reaches_a_process_group_that_exists(tmp_path):
    first, _ = run_ranks(wait_in_collective, 2, tmp_path)
    assert 0.5 < first < SOON_S
