"""Runs that do not learn are named once, with the causes; runs that learn are not."""

from __future__ import annotations

import logging
import math

import pytest
import torch
from toy_training import (
    make_args,
    make_model,
    make_static_trainer,
    make_table,
    make_transformer_trainer,
)
from transformers import TrainerCallback

from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.learning import LearningWatch, Logged, chance_loss, spread


@pytest.fixture
def said(caplog):
    """The warnings of this module so far."""
    caplog.set_level(logging.WARNING, logger="hybrid_fast")
    return lambda: [r.getMessage() for r in caplog.records if r.name.endswith(".learning")]


def see(watch, **values):
    """Ten logs, each value a number or a function of the log."""
    for n in range(10):
        given = {name: value(n) if callable(value) else value for name, value in values.items()}
        defaults = {"step": 10 * n, "loss": 2.5 - n / 10, "chance": math.log(12), "gradient": 3.0}
        watch.see(Logged(**{**defaults, "temperature": 0.05, "spread": 0.2, **given}), "rate 1")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"loss": math.log(12), "gradient": 1e-3}, "step 40: the loss of 2.485 stays at log(candi"),
        ({"loss": lambda n: math.log(12) + n % 2 / 50, "gradient": 0.1}, "step 40: the loss"),
        ({"loss": lambda n: math.log(12) - n / 50, "gradient": 0.5}, None),
        ({"loss": math.log(12)}, None),
        ({"loss": math.log(12), "step": lambda n: 30 * n}, "step 120: the loss of 2.485"),
        ({"spread": 1e-6}, "step 10: the vectors of a batch have become one (their spread is 1e"),
        ({"spread": lambda n: 1e-6 if n % 2 else 0.2}, None),
        ({"spread": math.nan}, None),
        ({"gradient": 0.0}, "step 0: the gradient is zero at a loss of 2.5; likely causes: weigh"),
        ({"gradient": 0.0, "loss": 0.0}, "step 0: the gradient is zero at a loss of 0; every qu"),
        ({"gradient": 0.0, "loss": 0.0, "chance": 0.0}, "step 0: the gradient is zero at a loss of "
         "0; a query has no negatives"),
        ({"gradient": lambda n: 0.0 if n else 3.0, "loss": lambda n: 0.0 if n else 2.0}, None),
        ({"gradient": None, "chance": math.nan}, None),
    ],
)  # fmt: skip
def test_what_is_said_of_logged_values(said, tmp_path, values, expected):
    see(LearningWatch(make_args(tmp_path)), **values)
    lines = said()
    assert len(lines) == (expected is not None)
    for line in lines:
        assert line.startswith(expected)
        assert line.endswith("; in effect: rate 1")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, math.log(20)),
        ({"symmetric": True}, (math.log(20) + math.log(12)) / 2),
        ({"negatives": "hard_only"}, math.log(9)),
    ],
)
def test_the_loss_by_chance_is_that_of_equal_scores(tmp_path, options, expected):
    assert chance_loss(make_args(tmp_path, **options), 12, 20) == pytest.approx(expected)
    queries, passages = torch.ones(12, 4), torch.ones(20, 4)
    assert InfoNCELoss(**options)(queries, passages).item() == pytest.approx(expected)


def test_spread_of_vectors():
    assert spread(torch.eye(4)).item() == pytest.approx(0.75)
    assert spread(torch.tensor([[1.0, 2.0], [3.0, 6.0]])).item() == pytest.approx(0, abs=1e-6)
    assert spread(torch.randn(500, 8).half()).dtype == torch.float32
    assert spread(torch.ones(1, 4)).isnan()


def test_the_rate_in_effect_is_that_of_the_optimiser_in_use(tmp_path):
    given = (torch.optim.SGD, {"lr": 0.5})
    args = make_args(tmp_path, max_steps=2, learning_rate=1e-3)
    trainer = HybridTrainer(make_model(), args, make_table(), optimizer_cls_and_kwargs=given)
    assert str(trainer.in_effect()).startswith("learning_rate 0.001 (linear schedule of 0.001)")
    trainer.create_optimizer()
    assert str(trainer.in_effect()).startswith("learning_rate 0.5 (linear schedule of 0.5)")
    trainer.create_scheduler(2)
    trainer.optimizer.step()
    trainer.lr_scheduler.step()
    assert str(trainer.in_effect()).startswith("learning_rate 0.25 (linear schedule of 0.5)")
    optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.1)
    own = (optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1))
    trainer = HybridTrainer(make_model(), args, make_table(), optimizers=own)
    assert str(trainer.in_effect()).startswith("learning_rate 0.1 (StepLR schedule of 0.1)")


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"learn_temperature": True}])
def test_nothing_is_said_of_a_run_that_learns(said, tmp_path, xlm_roberta_folder, options):
    make_static_trainer(tmp_path / "static", logging_steps=1, **options).train()
    make_transformer_trainer(xlm_roberta_folder, tmp_path / "transformer", **options).train()
    assert said() == []


def test_a_learning_rate_that_makes_all_vectors_one_is_named_once(
    said, tmp_path, xlm_roberta_folder
):
    trainer = make_transformer_trainer(
        xlm_roberta_folder, tmp_path, learning_rate=1.0, learn_temperature=False
    )
    trainer.train()
    (line,) = said()
    assert "the vectors of a batch have become one" in line
    assert "in effect: learning_rate 0." in line
    assert "(linear schedule of 1), temperature 0.05, precision float32, gradients clipped" in line


def test_a_learned_temperature_is_in_the_log(tmp_path):
    trainer = make_static_trainer(tmp_path, learn_temperature=True, max_steps=10)
    trainer.train()
    logged = [entry["temperature"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(set(logged)) == 2
    assert logged[-1] == pytest.approx(trainer.model.loss.temperature.item())
    fixed = make_static_trainer(tmp_path, max_steps=5)
    fixed.train()
    assert "temperature" not in fixed.state.log_history[0]


def test_a_message_on_divergence_names_the_values_in_effect(tmp_path):
    class BreakWeights(TrainerCallback):
        @torch.no_grad()
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 30:
                trainer.encoder.backbone.embedding.weight.fill_(torch.nan)

    trainer = make_static_trainer(
        tmp_path, [BreakWeights()], learning_rate=0.08, learn_temperature=True, max_grad_norm=0.0
    )
    with pytest.raises(ValueError, match="training diverged at step 30") as caught:
        trainer.train()
    message = str(caught.value)
    assert "lower learning_rate, which is 0.02 (linear schedule of 0.08), or fix the" in message
    temperature = trainer.model.loss.temperature.item()
    assert f"which is {temperature:.4g} (learned, from 0.05), precision float32" in message
    assert f"{temperature:.4g}" != "0.05"
    assert "gradients not clipped" in message
