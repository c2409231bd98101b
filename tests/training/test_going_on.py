"""Runs that go on: nothing is trained twice, and arguments set later are followed or refused."""

from __future__ import annotations

import math

import pytest
import torch
from toy_training import RecordingTrainer, Task, make_args, make_model, make_table, same, weights
from transformers import TrainerCallback

from hybrid_fast.training import HybridTrainer

SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}


@pytest.mark.parametrize("steps", [4, 3, 12], ids="max_steps={}".format)
def test_a_checkpoint_of_the_last_step_trains_no_more(tmp_path, steps):
    options = {**SAVING, "max_steps": max(steps, 4)}
    whole = HybridTrainer(make_model(), make_args(tmp_path, **options), make_table())
    whole.train()
    args = make_args(tmp_path, **{**options, "max_steps": steps})
    again = RecordingTrainer(make_model(seed=1), args, make_table())
    last = tmp_path / f"checkpoint-{max(steps, 4)}"
    written = (last / "optimizer.pt").stat().st_mtime_ns
    result = again.train(resume_from_checkpoint=str(last))
    assert again.fetched == []
    assert same(weights(whole.model), weights(again.model))
    assert result.global_step == max(steps, 4)
    assert math.isnan(result.training_loss)
    assert "train_loss" not in result.metrics
    assert (last / "optimizer.pt").stat().st_mtime_ns == written


@pytest.mark.parametrize("saving", ["steps", "epoch"])
@pytest.mark.parametrize("steps", [3, 12])
def test_only_an_evaluation_that_was_left_is_made(tmp_path, saving, steps):
    """12 steps are an epoch; with save_strategy "epoch" the evaluation comes before the saving."""
    options = {"save_strategy": saving, "save_steps": 1, "max_steps": steps}
    args = make_args(tmp_path, **options, eval_strategy="epoch")
    HybridTrainer(make_model(), args, make_table(), Task()).train()
    task = Task()
    again = HybridTrainer(make_model(), args, make_table(), task)
    again.train(resume_from_checkpoint=True)
    assert task.calls == (1 if saving == "steps" else 0)
    evaluated = [entry["step"] for entry in again.state.log_history if "eval_multi_map" in entry]
    assert evaluated == [steps]


@pytest.mark.parametrize(
    ("accumulation", "workers"),
    [(2, 0), (5, 0), (20, 0), pytest.param(5, 1, marks=pytest.mark.slow)],
)
def test_every_batch_is_seen_once_whatever_the_accumulation(tmp_path, accumulation, workers):
    """An epoch has 12 batches, which neither 5 nor 20 divides."""
    options = {
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": 2,
        "max_steps": -1,
        "save_strategy": "steps",
        "save_steps": 1,
        "dataloader_num_workers": workers,
        "dataloader_persistent_workers": bool(workers),
        "dataloader_prefetch_factor": 2 if workers else None,
    }

    def seen(resume=None) -> list[int]:
        trainer = HybridTrainer(make_model(), make_args(tmp_path, **options), make_table())
        steps, step = [], trainer.training_step
        trainer.training_step = lambda model, batch, n=None: (
            steps.append(batch.step),
            step(model, batch, n),
        )[1]
        trainer.train(resume_from_checkpoint=resume)
        return steps

    assert seen() == list(range(24))
    middle = {2: 5, 5: 2, 20: 1}[accumulation]
    first = {2: 10, 5: 10, 20: 12}[accumulation]
    assert seen(str(tmp_path / f"checkpoint-{middle}")) == list(range(first, 24))


class Rates(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.seen.append(optimizer.param_groups[0]["lr"])


def test_arguments_set_before_a_training_are_followed(tmp_path):
    rates = Rates()
    args = make_args(tmp_path, max_steps=2, lr_scheduler_type="constant")
    trainer = HybridTrainer(make_model(), args, make_table(), callbacks=[rates])
    trainer.args.learning_rate = 0.01
    trainer.train()
    trainer.args.learning_rate = 1e-3
    trainer.args.weight_decay = 0.5
    trainer.args.max_steps = 3
    trainer.args.save_strategy = "steps"  # text, as in the constructor
    trainer.args.save_steps = 1e0
    trainer.train()
    assert rates.seen == [0.01, 0.01, 1e-3, 1e-3, 1e-3]
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert (tmp_path / "checkpoint-3").is_dir()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 6, "batch_size was 12 when the trainer was made, and is 6 now"),
        ("temperature", 0.1, "temperature was 0.05 .* 0.1 now; make a new HybridTrainer"),
        ("per_device_train_batch_size", 6, "per_device_train_batch_size was 12"),
        ("label_smoothing_factor", 0.1, "label_smoothing_factor is 0.1; the loss has no classes"),
        ("eval_strategy", "steps", "there is no task to evaluate"),
        ("max_steps", 0, "max_steps is 0"),
    ],
)
def test_arguments_that_cannot_be_followed_later_are_refused(tmp_path, name, value, message):
    trainer = HybridTrainer(make_model(), make_args(tmp_path), make_table())
    setattr(trainer.args, name, value)
    with pytest.raises(ValueError, match=message):
        trainer.train()


def test_a_score_that_is_set_later_brings_its_direction(tmp_path):
    options = {**SAVING, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    trainer = HybridTrainer(make_model(), make_args(tmp_path, **options), make_table(), Task())
    assert trainer.args.greater_is_better is True
    trainer.args.metric_for_best_model = "rank_distance"
    trainer.train()
    assert trainer.args.greater_is_better is False
    trainer.args.metric_for_best_model, trainer.args.greater_is_better = "multi_map", False
    trainer.train()
    assert trainer.args.greater_is_better is False


def test_a_value_of_the_wrong_type_set_later_is_refused(tmp_path):
    trainer = HybridTrainer(make_model(), make_args(tmp_path), make_table())
    trainer.args.learning_rate = "1e-3 "
    with pytest.raises(TypeError, match="learning_rate is '1e-3 '; a number is needed"):
        trainer.train()


def test_arguments_of_another_run_do_not_disturb_a_trainer_that_is_made(tmp_path):
    trainer = HybridTrainer(make_model(), make_args(tmp_path, max_steps=2), make_table())
    make_args(tmp_path / "other", batch_size=6)
    trainer.train()
    make_args(tmp_path / "other", batch_size=6)
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize("schedule", ["CosineAnnealingLR", "StepLR", "OneCycleLR"])
def test_an_optimiser_and_a_schedule_of_ones_own_go_on_bit_equal(tmp_path, schedule):
    options = {"CosineAnnealingLR": {"T_max": 4}, "StepLR": {"step_size": 1, "gamma": 0.5}}
    options["OneCycleLR"] = {"max_lr": 0.1, "total_steps": 5}

    def run(folder, seed=0, resume=None):
        model = make_model(seed=seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        own = getattr(torch.optim.lr_scheduler, schedule)(optimizer, **options[schedule])
        args = make_args(folder, **SAVING)
        trainer = HybridTrainer(model, args, make_table(), optimizers=(optimizer, own))
        trainer.train(resume_from_checkpoint=resume)
        return weights(trainer.model)

    whole = run(tmp_path)
    assert same(whole, run(tmp_path / "again", 1, str(tmp_path / "checkpoint-2")))


def test_a_trainer_that_has_trained_may_resume_with_another_rate(tmp_path):
    rates = Rates()
    args = make_args(tmp_path, **SAVING, lr_scheduler_type="constant")
    trainer = HybridTrainer(make_model(), args, make_table(), callbacks=[rates])
    trainer.train()
    whole = weights(trainer.model)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert same(whole, weights(trainer.model))
    trainer.args.learning_rate = 1e-5
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert rates.seen == [0.02] * 6 + [1e-5] * 2
