"""The ways by which a run computes on a CPU: in checkpoints, on all ranks, after a resumption."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks
from toy_training import make_args, make_model, make_table, same, weights

from hybrid_fast.cpu import choices, ways
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.termination import leave_process_group

STEPS = {"save_strategy": "steps", "save_steps": 2, "max_steps": 6}
TURNS = {  # seconds, by the way that is the faster one
    "torch": {"torch": [1.0] * 4, "onednn": [2.0] * 4},
    "onednn": {"torch": [2.0] * 4, "onednn": [1.0] * 4},
}


class TrainerByWays(HybridTrainer):
    """A trainer whose loss depends on the way that is followed, noticeably.

    Attributes:
        followed: the way of each step.
        late: step from which on another question is asked.
    """

    late = 99

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.followed: list[str] = []
        loss = self.model.loss.forward

        def forward(*arguments: Any, **options: Any) -> torch.Tensor:
            case = "late" if self.state.global_step >= self.late else "8 16 8"
            both = {"torch": bool, "onednn": bool}
            way = ways.fastest("nt", case, "torch 2", lambda: both)
            self.followed.append(way)
            return loss(*arguments, **options) * (1.0 if way == "torch" else 1.01)

        self.model.loss.forward = forward


def train(folder: Path, seed: int = 0, resume: str | None = None, **options: Any) -> TrainerByWays:
    args = make_args(folder, **{**STEPS, **options})
    trainer = TrainerByWays(make_model(seed=seed), args, make_table())
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.fixture
def new_process(monkeypatch, tmp_path):
    """Forget all choices, and measure that one way is the faster, with a cache of its own."""
    monkeypatch.delenv("HYBRID_FAST_WAYS", raising=False)

    def begin(fast: str) -> None:
        monkeypatch.setattr(ways, "_chosen", {})
        monkeypatch.setattr(ways, "_settled", {})
        monkeypatch.setattr(ways, "_measure", lambda available: TURNS[fast])
        monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / f"cache-{fast}"))

    return begin


def test_a_resumed_run_follows_its_checkpoint_and_ends_bit_equal(new_process, tmp_path):
    new_process("onednn")
    whole = train(tmp_path)
    assert whole.followed == ["onednn"] * 6
    path = tmp_path / "checkpoint-2" / "cpu_ways.json"
    assert json.loads(path.read_text())["nt 8 16 8"] == "onednn"
    new_process("torch")
    resumed = train(tmp_path, 1, str(tmp_path / "checkpoint-2"))
    assert resumed.followed == ["onednn"] * 4
    assert choices()["nt 8 16 8"].source == "settled"
    assert same(weights(whole.model), weights(resumed.model))


def test_a_later_run_of_the_process_computes_as_the_resumed_one_and_says_so(new_process, tmp_path):
    new_process("onednn")
    train(tmp_path / "first")
    new_process("torch")
    train(tmp_path / "first", 1, str(tmp_path / "first" / "checkpoint-2"))
    whole = train(tmp_path / "second")
    assert whole.followed == ["onednn"] * 6
    new_process("torch")
    checkpoint = str(tmp_path / "second" / "checkpoint-4")
    assert same(weights(train(tmp_path, 1, checkpoint).model), weights(whole.model))


def test_without_the_file_ways_are_chosen_anew(new_process, tmp_path):
    new_process("onednn")
    whole = train(tmp_path)
    (tmp_path / "checkpoint-2" / "cpu_ways.json").unlink()
    new_process("torch")
    resumed = train(tmp_path, 1, str(tmp_path / "checkpoint-2"))
    assert resumed.followed == ["torch"] * 4
    assert not same(weights(whole.model), weights(resumed.model))


def test_what_was_settled_and_not_asked_for_yet_stays_in_later_checkpoints(new_process, tmp_path):
    new_process("onednn")
    train(tmp_path)
    path = tmp_path / "checkpoint-2" / "cpu_ways.json"
    path.write_text(json.dumps({"tn 1 2 3": "torch", "nt 8 16 8": "torch"}))
    train(tmp_path, 1, str(tmp_path / "checkpoint-2"))
    saved = json.loads((tmp_path / "checkpoint-6" / "cpu_ways.json").read_text())
    assert saved == {**saved, "tn 1 2 3": "torch", "nt 8 16 8": "torch"}


def test_the_variable_goes_before_the_checkpoint_with_one_warning(
    new_process, tmp_path, monkeypatch, caplog
):
    new_process("onednn")
    train(tmp_path)
    new_process("onednn")
    path = tmp_path / "checkpoint-2" / "cpu_ways.json"
    path.write_text(json.dumps({f"nt {case}": "onednn" for case in ("1", "8 16 8", "9", "9 9")}))
    monkeypatch.setenv("HYBRID_FAST_WAYS", "nt=torch")
    resumed = train(tmp_path, 1, str(tmp_path / "checkpoint-2"))
    assert resumed.followed == ["torch"] * 4
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    (said,) = (each for each in warnings if "HYBRID_FAST_WAYS" in each)
    assert "checkpoint-2 with other ways to compute" in said
    assert "nt 1 onednn -> torch, nt 8 16 8 onednn -> torch, nt 9 onednn -> torch and 1 mor" in said
    saved = json.loads((tmp_path / "checkpoint-4" / "cpu_ways.json").read_text())
    assert saved["nt 8 16 8"] == "torch"


@pytest.mark.parametrize("variable", ["", "nt=onednn", "tn=torch", "onednn"])
def test_a_variable_that_agrees_warns_of_nothing(
    new_process, tmp_path, monkeypatch, caplog, variable
):
    new_process("onednn")
    train(tmp_path, max_steps=4)
    path = tmp_path / "checkpoint-2" / "cpu_ways.json"
    path.write_text('{"nt 8 16 8": "onednn"}')
    monkeypatch.setenv("HYBRID_FAST_WAYS", variable)
    train(tmp_path, 1, str(tmp_path / "checkpoint-2"), max_steps=4)
    assert "other ways to compute" not in caplog.text


def test_a_wrong_variable_is_refused_before_the_first_step(new_process, tmp_path, monkeypatch):
    new_process("onednn")
    monkeypatch.setenv("HYBRID_FAST_WAYS", "onednm")
    trainer = TrainerByWays(make_model(), make_args(tmp_path), make_table())
    with pytest.raises(ValueError, match="did you mean 'onednn'"):
        trainer.train()
    assert trainer.followed == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds a list; a dict is needed"),
        ("{", "malformed JSON"),
        ('{"nt 8 16 8": ["torch"]}', r"nt 8 16 8 is \['torch'\].* Remove the file"),
    ],
)
def test_a_damaged_file_is_refused(new_process, tmp_path, content, message):
    new_process("onednn")
    train(tmp_path, max_steps=2)
    path = tmp_path / "checkpoint-2" / "cpu_ways.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        train(tmp_path, 1, str(tmp_path / "checkpoint-2"))


def test_a_way_that_does_not_exist_here_is_chosen_anew_with_a_warning(
    new_process, tmp_path, caplog
):
    new_process("onednn")
    train(tmp_path)
    path = tmp_path / "checkpoint-2" / "cpu_ways.json"
    path.write_text('{"nt 8 16 8": "mkl"}')
    new_process("torch")
    resumed = train(tmp_path, 1, str(tmp_path / "checkpoint-2"))
    assert resumed.followed == ["torch"] * 4
    assert caplog.text.count("'nt 8 16 8' was computed by 'mkl' before") == 1


def train_on_ranks(
    rank: int,
    world_size: int,
    folder: Path,
    resume: str | None,
    late: int,
    fast: list[str],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Train where each rank measures another way to be the fastest, on a machine of its own."""
    os.environ.pop("HYBRID_FAST_WAYS", None)
    os.environ["HYBRID_FAST_CACHE"] = str(folder / f"cache-{fast[rank]}")
    ways._measure = lambda available: TURNS[fast[rank]]
    TrainerByWays.late = late
    trainer = train(folder / "out", seed=0 if resume is None else 1, resume=resume, **options)
    record = {
        "followed": trainer.followed,
        "late": ways._settled.get("nt late"),
        "weights": weights(trainer.model),
    }
    leave_process_group()
    return record


def test_ranks_follow_the_first_after_a_step_and_in_a_resumed_run_at_once(tmp_path):
    fast = ["onednn", "torch"]
    first, second = run_ranks(train_on_ranks, 2, tmp_path, None, 99, fast, {})
    assert first["followed"] == ["onednn"] * 6
    assert second["followed"] == ["torch"] + ["onednn"] * 5
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    for resumed in run_ranks(train_on_ranks, 2, tmp_path, checkpoint, 99, fast[::-1], {}):
        assert resumed["followed"] == ["onednn"] * 4
        assert same(first["weights"], resumed["weights"])


def test_what_is_first_asked_after_a_checkpoint_is_agreed_on_at_the_same_step(tmp_path):
    """In the run that goes on, and in the one that resumes; rank 1 follows rank 0 a step later."""
    fast = ["onednn", "torch"]
    first, second = run_ranks(train_on_ranks, 2, tmp_path, None, 2, fast, {})
    assert second["followed"] == ["torch", "onednn", "torch", "onednn", "onednn", "onednn"]
    assert first["late"] == second["late"] == "onednn"
    checkpoint = str(tmp_path / "out" / "checkpoint-2")
    again, resumed = run_ranks(train_on_ranks, 2, tmp_path, checkpoint, 2, fast, {})
    assert resumed["followed"] == second["followed"][2:]
    assert same(first["weights"], again["weights"])


def test_ranks_follow_the_first_after_an_update_of_several_batches_without_checkpoints(tmp_path):
    options = {"gradient_accumulation_steps": 2, "save_strategy": "no", "max_steps": 3}
    fast = ["onednn", "torch"]
    first, second = run_ranks(train_on_ranks, 2, tmp_path, None, 99, fast, options)
    assert first["followed"] == ["onednn"] * 6
    assert second["followed"] == ["torch"] * 2 + ["onednn"] * 4


def make_with_unset_variable(rank: int, world_size: int, folder: Path) -> None:
    os.environ.pop("HYBRID_FAST_WAYS", None)
    if rank == 1:
        os.environ["HYBRID_FAST_WAYS"] = " "
    HybridTrainer(make_model(), make_args(folder), make_table())
    leave_process_group()


def test_an_empty_variable_is_as_none(tmp_path):
    run_ranks(make_with_unset_variable, 2, tmp_path)


def train_with_variable(rank: int, world_size: int, folder: Path) -> str:
    if rank == 1:
        os.environ["HYBRID_FAST_WAYS"] = "onednn"
    with pytest.raises(ValueError, match="ranks of this training differ in HYBRID_FAST_WAYS") as no:
        HybridTrainer(make_model(), make_args(folder), make_table())
    leave_process_group()
    return str(no.value)


def test_ranks_with_another_variable_are_refused(tmp_path):
    for said in run_ranks(train_with_variable, 2, tmp_path):
        assert "rank 1: onednn" in said
