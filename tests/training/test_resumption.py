"""What each argument does at a resumption: every field is in the table, in the docs, and tried."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from toy_training import Task, make_args, make_model, make_table, plain_adamw
from transformers import TrainerCallback, TrainingArguments

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments, fields, resumption

DOCS = Path(__file__).parents[2] / "docs" / "arguments.md"
INSTALLED = {field.name for field in dataclasses.fields(TrainingArguments)}
OWN = {field.name for field in dataclasses.fields(HybridTrainingArguments)} - INSTALLED
STEPS = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "lr_scheduler_type": "constant"}


def test_every_field_that_acts_stands_in_one_table():
    tables = [resumption.SAME, resumption.FOLLOWED, resumption.FREE]
    assert sum(map(len, tables)) == len(frozenset.union(*tables))
    assert frozenset.union(*tables) == fields.SERVED | OWN
    assert fields.SERVED | OWN > resumption.FIXED > resumption.SAME


def test_the_documented_table_is_that_of_the_code():
    documented, fixed = {}, set()
    for line in DOCS.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1] in ("same", "followed", "free"):
            for name, star in re.findall(r"`([a-z0-9_]+)`(\*?)", cells[2]):
                documented[name] = cells[1]
                fixed |= {name} if star else set()
    assert documented == {
        **dict.fromkeys(resumption.SAME, "same"),
        **dict.fromkeys(resumption.FOLLOWED, "followed"),
        **dict.fromkeys(resumption.FREE, "free"),
    }
    assert fixed == resumption.FIXED - resumption.SAME


# Another value of each argument, and what must be given with it.
OTHERS = {
    "seed": 1,
    "data_seed": 3,
    "gradient_accumulation_steps": 2,
    "optim": "sgd",
    "optim_args": "amsgrad=True",
    "optim_target_modules": ["x"],
    "temperature": 0.1,
    "learn_temperature": True,
    "loss_precision": "bf16",
    "symmetric": True,
    "margin": 0.1,
    "negatives": "hard_only",
    "negatives_from": "query",
    "gather_negatives": False,
    "bf16": True,
    "fp16": True,
    "adapter": {"r": 2},
    "batch_size": 6,
    "kind": "cross",
    "alpha": 0.25,
    "language_sampling": "proportional",
    "pair_weights": {"de-en": 2.0},
    "source_weights": {"x": 2.0},
    "pairs": "single",
    "frozen_layers": ["embedding"],
    "dropout": 0.2,
}


def run_of(args: HybridTrainingArguments, **more) -> HybridTrainer:
    return HybridTrainer(make_model(), args, make_table(negatives=True), **more)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run_of(make_args(folder, **STEPS)).train()
    return folder / "checkpoint-2"


@pytest.mark.parametrize("name", sorted(resumption.SAME))
def test_what_cannot_be_followed_is_refused_with_both_values(checkpoint, tmp_path, name):
    saved = json.loads((checkpoint / "plan.json").read_text())["same"]
    args = make_args(tmp_path, **STEPS)
    now = {**saved, name: OTHERS[name]}
    with pytest.raises(ValueError, match=f"was trained with {name} = ") as caught:
        resumption.check_same(saved, now, checkpoint)
    assert f"{saved[name]!r}, this run has {OTHERS[name]!r}; resume with" in str(caught.value)
    trainer = run_of(args)
    setattr(trainer.args, name, OTHERS[name])
    with pytest.raises(ValueError, match=f"^{name} was .* when the trainer was made.*make a new"):
        trainer.train()


@pytest.mark.parametrize("name", ["seed", "optim", "temperature", "margin", "bf16", "pairs"])
def test_a_run_that_asks_for_another_value_is_refused(checkpoint, tmp_path, name):
    trainer = run_of(make_args(tmp_path, **STEPS, **{name: OTHERS[name]}))
    with pytest.raises(ValueError, match=f"was trained with .*{name} = .*start anew"):
        trainer.train(resume_from_checkpoint=str(checkpoint))


def test_a_default_of_the_plan_may_be_named(checkpoint, tmp_path):
    same = run_of(make_args(tmp_path, **STEPS, data_seed=42, alpha=0.5))
    same.train(resume_from_checkpoint=str(checkpoint))
    assert same.state.global_step == 4


class Groups(TrainerCallback):
    """What the optimiser goes by at each update."""

    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.seen.append([dict(group, params=None) for group in optimizer.param_groups])

    def values(self, name: str) -> list:
        return [groups[0][name] for groups in self.seen]


def resumed(checkpoint: Path, folder: Path, more=None, **options) -> Groups:
    groups = Groups()
    args = make_args(folder, **{**STEPS, **options})
    trainer = run_of(args, callbacks=[groups], **(more(args) if more else {}))
    trainer.train(resume_from_checkpoint=str(checkpoint))
    return groups


@pytest.mark.parametrize("more", [None, plain_adamw], ids=["LazyAdamW", "AdamW"])
def test_the_options_of_the_optimiser_are_followed(
    checkpoint, tmp_path, caplog, more, every_table_is_large
):
    options = {"learning_rate": 1e-6, "adam_beta1": 0.8, "adam_beta2": 0.9}
    groups = resumed(checkpoint, tmp_path, more, **options)
    assert groups.values("lr") == [1e-6, 1e-6]
    assert groups.values("betas") == [(0.8, 0.9)] * 2
    assert "goes on from" in caplog.text
    assert "adam_beta1 0.9 -> 0.8" in caplog.text
    assert "learning_rate 0.02 -> 1e-06" in caplog.text
    assert "max_steps" not in caplog.text
    decayed = resumed(checkpoint, tmp_path, weight_decay=0.5, adam_epsilon=1e-5)
    assert decayed.values("weight_decay") == [0.5, 0.5]
    assert decayed.values("eps") == [1e-5, 1e-5]
    assert decayed.seen[0][1]["weight_decay"] == 0.0


def test_an_optimiser_of_ones_own_keeps_the_options_it_is_given(checkpoint, tmp_path):
    args = make_args(tmp_path, **STEPS)
    groups = Groups()
    given = plain_adamw(args)["optimizer_cls_and_kwargs"]
    options = {**given[1], "lr": 0.005, "weight_decay": 0.25}
    trainer = run_of(args, callbacks=[groups], optimizer_cls_and_kwargs=(given[0], options))
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert groups.values("lr") == [0.005] * 2
    sgd = (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9})
    other = run_of(args, optimizer_cls_and_kwargs=sgd)
    with pytest.raises(ValueError, match=r"optimizer = 'torch\.optim\.adamw\.AdamW', .*SGD"):
        other.train(resume_from_checkpoint=str(checkpoint))


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({"lr_scheduler_type": "linear"}, [0.01, 0.005]),
        ({"lr_scheduler_type": "linear", "max_steps": 5}, [0.012, 0.008, 0.004]),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 4}, [0.01, 0.015]),
        ({"learning_rate": 0.01, "lr_scheduler_type": "linear"}, [0.005, 0.0025]),
    ],
    ids=str,
)
def test_the_schedule_is_that_asked_for_at_the_step_reached(checkpoint, tmp_path, options, rates):
    assert resumed(checkpoint, tmp_path, **options).values("lr") == pytest.approx(rates)


def test_a_schedule_by_scores_goes_on_or_begins_anew(tmp_path):
    by_score = {
        **STEPS,
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "lr_scheduler_kwargs": {"factor": 0.5, "patience": 0, "mode": "min"},
        "eval_strategy": "steps",
        "eval_steps": 1,
    }
    first = Groups()
    HybridTrainer(
        make_model(), make_args(tmp_path, **by_score), make_table(), Task(), callbacks=[first]
    ).train()
    assert first.values("lr") == [0.02, 0.02, 0.01, 0.005]
    for options, rates in (
        ({}, [0.01, 0.01]),
        ({"learning_rate": 0.002}, [0.001, 0.001]),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": None}, [0.02, 0.02]),
    ):
        groups = Groups()
        args = make_args(tmp_path / "again", **{**by_score, **options})
        more = {"callbacks": [groups]}
        again = HybridTrainer(make_model(), args, make_table(), Task(), **more)
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        assert groups.values("lr")[0] == pytest.approx(rates[0]), options


def test_a_schedule_by_scores_lowers_the_rate_where_the_score_falls(tmp_path):
    """The score of the task rises until the third evaluation."""
    groups = Groups()
    options = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps"}
    kwargs = {"factor": 0.5, "patience": 0}
    args = make_args(tmp_path, **options, eval_steps=1, max_steps=5, lr_scheduler_kwargs=kwargs)
    HybridTrainer(make_model(), args, make_table(), Task(), callbacks=[groups]).train()
    assert groups.values("lr") == [0.02, 0.02, 0.02, 0.02, 0.01]
    assert args.lr_scheduler_kwargs == kwargs


def test_logging_saving_and_evaluation_are_followed(checkpoint, tmp_path):
    args = make_args(tmp_path, **{**STEPS, "save_steps": 3, "logging_steps": 1, "max_steps": 6})
    args.eval_strategy, args.eval_steps = "steps", 2
    trainer = run_of(dataclasses.replace(args), evaluator=Task())
    trainer.train(resume_from_checkpoint=str(checkpoint))
    history = trainer.state.log_history
    assert [entry["step"] for entry in history if "loss" in entry][-4:] == [3, 4, 5, 6]
    assert [entry["step"] for entry in history if "eval_multi_map" in entry] == [4, 6]
    assert sorted(folder.name for folder in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-3",
        "checkpoint-6",
    ]


def test_a_trained_model_may_be_evaluated_on_another_machine(checkpoint, tmp_path):
    saved = json.loads((checkpoint / "plan.json").read_text())
    saved["followed"] |= {"use_cpu": False, "tf32": True, "micro_batch_tokens": 7}
    saved["followed"]["cached_activation_tokens"] = 7
    resumption.check_trained(saved, make_args(tmp_path, **STEPS), "model")
    saved["followed"]["learning_rate"] = 1.0
    with pytest.raises(ValueError, match=r"model is trained, with learning_rate = 1\.0, and only"):
        resumption.check_trained(saved, make_args(tmp_path, **STEPS), "model")


def test_another_encoder_of_the_same_shapes_is_refused(checkpoint, tmp_path):
    model = make_model()
    other = BiEncoder(model.backbone, query_prompt="query: ")
    trainer = HybridTrainer(other, make_args(tmp_path, **STEPS), make_table(negatives=True))
    with pytest.raises(ValueError, match="query_prompt = '', this run has 'query: '"):
        trainer.train(resume_from_checkpoint=str(checkpoint))


def test_the_best_checkpoint_is_chosen_anew_by_another_score(tmp_path):
    options = {**STEPS, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
    options["max_steps"] = 8
    first = HybridTrainer(make_model(), make_args(tmp_path, **options), make_table(), Task())
    first.train()
    assert first.state.best_global_step == 6  # the third evaluation
    moved = tmp_path / "moved"
    moved.mkdir()
    for folder in list(tmp_path.glob("checkpoint-*")):
        folder.rename(moved / folder.name)
    for metric, greater, best in (("multi_map", True, 6), ("multi_map", False, 2)):
        more = {"metric_for_best_model": metric, "greater_is_better": greater}
        args = make_args(tmp_path, **options, **more)
        again = HybridTrainer(make_model(), args, make_table(), Task())
        again.train(resume_from_checkpoint=str(moved / "checkpoint-8"))
        assert again.state.best_model_checkpoint == str(moved / f"checkpoint-{best}")
