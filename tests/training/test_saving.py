"""Whatever fails after a step, the model is there and the error says where."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from ranks import launch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from toy_training import (
    RecordingTrainer,
    Task,
    make_args,
    make_model,
    make_static_trainer,
    make_table,
    same,
    weights,
)
from transformers import TrainerCallback

from hybrid_fast.common.errors import PartlyDoneError
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments
from hybrid_fast.training.checkpoints import complete_checkpoints

pytestmark = pytest.mark.usefixtures("every_table_is_large")


class FailingTask(Task):
    """Its second evaluation fails."""

    def evaluate(self, model, batch_size=8):
        if self.calls == 1:
            raise KeyError("cell")
        return super().evaluate(model, batch_size)


class At(TrainerCallback):
    """Fails at an event."""

    def __init__(self, event: str, step: int) -> None:
        def fail(args, state, control, **_):
            if state.global_step == step:
                raise OSError("no space left")

        setattr(self, event, fail)


def model_of(error: PartlyDoneError) -> Path:
    """Return the folder that the message names."""
    return Path(re.search(r"the model is in (\S+?)[,:]", str(error))[1])


def test_a_failed_evaluation_leaves_a_checkpoint_from_which_training_goes_on(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 5, "max_steps": 20}
    whole = HybridTrainer(make_model(), make_args(tmp_path / "whole", max_steps=20), make_table())
    whole.train()
    trainer = HybridTrainer(
        make_model(), make_args(tmp_path / "own", **options), make_table(), FailingTask()
    )
    with pytest.raises(
        PartlyDoneError, match=r"after step 10 of 20, .*: KeyError: 'cell'"
    ) as ended:
        trainer.train()
    folder = model_of(ended.value)
    assert folder == tmp_path / "own" / "checkpoint-10"
    assert same(weights(BiEncoder.from_pretrained(folder)), weights(trainer.encoder))
    resumed = RecordingTrainer(make_model(seed=1), make_args(tmp_path, max_steps=20), make_table())
    resumed.train(resume_from_checkpoint=folder)
    assert resumed.fetched == list(range(10, 20))
    assert same(weights(resumed.encoder), weights(whole.encoder))


@pytest.mark.parametrize(("strategy", "steps"), [("steps", 4), ("epoch", 24)])
@pytest.mark.parametrize("delay", [0, 100])
def test_a_failed_last_evaluation_is_made_up_and_may_find_the_best_model(
    tmp_path, strategy, steps, delay
):
    """24 steps are two epochs."""
    saving = {"save_strategy": strategy, "save_steps": 2, "max_steps": steps}
    options = {**saving, "eval_strategy": strategy, "eval_steps": 2, "load_best_model_at_end": True}
    first = HybridTrainer(make_model(), make_args(tmp_path, **options), make_table(), FailingTask())
    with pytest.raises(PartlyDoneError, match=r"after step .*: KeyError: 'cell'"):
        first.train()
    last = weights(first.encoder)
    assert first.state.best_global_step == steps // 2
    task = Task()
    task.calls = 1  # the next score is better than the first one was
    args = make_args(tmp_path, **options, eval_delay=delay)
    again = HybridTrainer(make_model(seed=1), args, make_table(), task)
    again.train(resume_from_checkpoint=True)
    assert task.calls == (2 if delay == 0 else 1)
    best = steps if delay == 0 else steps // 2
    assert again.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    assert same(weights(again.encoder), last) == (delay == 0)


def test_after_a_failed_training_any_task_may_be_evaluated(tmp_path):
    class Other(Task):
        def evaluate(self, model, batch_size=8):
            return SimpleNamespace(flat=lambda: {"accuracy": 0.5})

    args = make_args(
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
    )
    trainer = HybridTrainer(make_model(), args, make_table(), FailingTask())
    with pytest.raises(PartlyDoneError):
        trainer.train()
    assert trainer.evaluate(Other())["eval_accuracy"] == 0.5


@pytest.mark.parametrize("event", ["on_step_end", "on_log", "on_train_end"])
def test_a_failed_callback_leaves_the_model_of_its_step(tmp_path, event):
    trainer = make_static_trainer(tmp_path, [At(event, 6)], max_steps=6, logging_steps=6)
    with pytest.raises(PartlyDoneError, match=r"after step 6 of 6, .*: no space left") as ended:
        trainer.train()
    loaded = BiEncoder.from_pretrained(model_of(ended.value))
    assert same(weights(loaded), weights(trainer.encoder))


def test_a_best_checkpoint_that_is_gone_costs_the_last_model_nothing(tmp_path):
    class RemoveBest(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 12:
                shutil.rmtree(state.best_model_checkpoint)

    options = {
        "max_steps": 12,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "load_best_model_at_end": True,
    }
    trainer = HybridTrainer(
        make_model(), make_args(tmp_path, **options), make_table(), Task(), [RemoveBest()]
    )
    with pytest.raises(PartlyDoneError, match="after step 12 of 12") as ended:
        trainer.train()
    loaded = BiEncoder.from_pretrained(model_of(ended.value))
    assert same(weights(loaded), weights(trainer.encoder))


def test_what_fails_before_an_update_is_raised_as_it_is(tmp_path):
    trainer = make_static_trainer(tmp_path, [At("on_step_begin", 0)])
    with pytest.raises(OSError, match=r"^no space left$"):
        trainer.train()
    trainer = make_static_trainer(tmp_path, [At("on_train_begin", 0)])
    with pytest.raises(OSError, match=r"^no space left$"):
        trainer.train()
    assert complete_checkpoints(str(tmp_path)) == []


def test_an_error_outlives_a_model_that_cannot_be_saved(tmp_path, monkeypatch, caplog):
    def fail(*_, **options):
        raise OSError("disk full")

    trainer = make_static_trainer(tmp_path, [At("on_step_end", 3)])
    monkeypatch.setattr(trainer.encoder, "save_pretrained", fail)
    with pytest.raises(OSError, match=r"^no space left$"):
        trainer.train()
    assert "The model could not be saved in" in caplog.text
    assert "disk full" in caplog.text


def fail_on_second_rank(folder: str) -> None:
    at_third = At("on_step_end", 3) if os.environ["RANK"] == "0" else TrainerCallback()
    make_static_trainer(folder, [at_third], ddp_backend="gloo").train()


def test_with_other_ranks_the_model_alone_is_saved(tmp_path, monkeypatch):
    """The others may be gone, and a checkpoint waits for them."""

    def fail(args, state, control, **_):
        monkeypatch.setattr(HybridTrainingArguments, "world_size", 2)
        raise OSError("no space left")

    callback = TrainerCallback()
    callback.on_train_end = fail
    trainer = make_static_trainer(tmp_path, [callback], max_steps=2)
    with pytest.raises(PartlyDoneError) as ended:
        trainer.train()
    assert model_of(ended.value) == tmp_path / "model-2"
    assert same(weights(BiEncoder.from_pretrained(tmp_path / "model-2")), weights(trainer.encoder))
    assert complete_checkpoints(str(tmp_path)) == []


@pytest.mark.slow
def test_one_of_several_ranks_saves_the_model_alone(tmp_path):
    with pytest.raises(ChildFailedError):
        launch(fail_on_second_rank, 2, str(tmp_path))
    assert BiEncoder.from_pretrained(tmp_path / "model-3").embedding_dim == 16
    assert complete_checkpoints(str(tmp_path)) == []


def test_a_checkpoint_without_optimiser_is_a_model_and_nothing_to_go_on_from(tmp_path):
    args = make_args(tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    args.save_only_model = True
    HybridTrainer(make_model(), args, make_table()).train()
    assert BiEncoder.from_pretrained(tmp_path / "checkpoint-2").embedding_dim == 16
    resumed = HybridTrainer(make_model(), args, make_table())
    with pytest.raises(ValueError, match="was saved with save_only_model=True"):
        resumed.train(resume_from_checkpoint=True)
