"""Learning rates of layers in a run that goes on: the same bits, followed, or refused."""

from __future__ import annotations

import pytest
import torch
from test_layer_rates import CHECKPOINTS, rates_of
from toy_training import make_transformer_trainer as make_trainer
from toy_training import same, weights

DECAYED = {**CHECKPOINTS, "layer_lr_decay": 0.5, "lr_scheduler_type": "constant"}


@pytest.fixture(scope="module")
def run(bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainer = make_trainer(bert_folder, folder, **DECAYED)
    trainer.train()
    return trainer, folder / "checkpoint-2"


def test_a_resumed_run_ends_bitwise_the_same(run, bert_folder, tmp_path):
    trainer, checkpoint = run
    again = make_trainer(bert_folder, tmp_path, **DECAYED)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert same(weights(trainer.encoder), weights(again.encoder))


def test_other_factors_and_rates_are_followed(run, bert_folder, tmp_path, caplog):
    _, checkpoint = run
    options = {**DECAYED, "layer_lr_decay": 0.25, "learning_rate": 2e-3}
    trainer = make_trainer(bert_folder, tmp_path, **options)
    seen = rates_of(trainer, str(checkpoint))
    assert {round(rate, 9) for rate in seen[0].values()} == {2e-3, 5e-4, 1.25e-4}
    assert "layer_lr_decay 0.5 -> 0.25" in caplog.text
    assert trainer.state.log_history[-2]["learning_rate"] == pytest.approx(2e-3)
    # The embeddings have a group of their own already.
    options = {**DECAYED, "lr_multipliers": {"embeddings": 0.1}}
    seen = rates_of(make_trainer(bert_folder, tmp_path, **options), str(checkpoint))
    assert {round(rate, 9) for rate in seen[0].values()} == {1e-3, 5e-4, 2.5e-5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_lr_decay": None}, "with layer_lr_decay = 0.5, this run has None"),
        (
            {"lr_multipliers": {".*query": 0.1}},
            r"with lr_multipliers = None, this run has \{'\.\*query': 0.1\}, by which weights",
        ),
    ],
    ids=str,
)
def test_other_groups_are_refused_with_both_values(run, bert_folder, tmp_path, options, message):
    trainer = make_trainer(bert_folder, tmp_path, **{**DECAYED, **options})
    with pytest.raises(ValueError, match=message):
        trainer.train(resume_from_checkpoint=str(run[1]))


def test_other_names_of_equal_shapes_are_no_other_factors(bert_folder, tmp_path):
    """The moments of queries would go to keys."""
    options = {**CHECKPOINTS, "lr_multipliers": {".*query": 2.0}}
    make_trainer(bert_folder, tmp_path, **options).train()
    options["lr_multipliers"] = {".*key": 2.0}
    trainer = make_trainer(bert_folder, tmp_path / "other", **options)
    with pytest.raises(ValueError, match="other groups of the optimiser"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_groups_of_an_optimiser_of_ones_own_are_compared_too(bert_folder, tmp_path):
    def trainer_of(folder, reverse):
        trainer = make_trainer(bert_folder, folder, **CHECKPOINTS)
        groups = [w for w in trainer.model.parameters() if w.requires_grad]
        trainer.optimizer = torch.optim.SGD(groups[::-1] if reverse else groups, lr=1e-3)
        return trainer

    trainer_of(tmp_path, reverse=False).train()
    other = trainer_of(tmp_path / "other", reverse=True)
    with pytest.raises(ValueError, match=r"optimizer_weights = .*, this run has"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_a_trainer_that_is_made_follows_no_other(bert_folder, tmp_path):
    trainer = make_trainer(bert_folder, tmp_path, **DECAYED)
    trainer.args.layer_lr_decay = 0.25
    with pytest.raises(ValueError, match=r"layer_lr_decay was 0.5 .* make a new HybridTrainer"):
        trainer.train()
