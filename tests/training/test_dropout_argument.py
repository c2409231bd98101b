"""The argument `dropout`: the rate in effect, what depends on it, and what a resumption says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy_training import losses, make_args, make_model, make_table, make_transformer_trainer

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.dropout_rates import has_dropout
from hybrid_fast.training import HybridTrainer


def make_trainer(folder, output, model=None, **options) -> HybridTrainer:
    options = {"max_steps": 2, "logging_steps": 1, **options}
    model = model or BiEncoder.from_pretrained(folder)
    return HybridTrainer(model, make_args(output, **options), make_table())


@pytest.mark.parametrize("rate", [0.0, 0.35])
def test_the_rate_is_in_effect_and_repeats_depend_on_it(xlm_roberta_folder, tmp_path, rate):
    trainer = make_trainer(xlm_roberta_folder, tmp_path, dropout=rate)
    model = trainer.encoder.backbone.model
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {rate} == {model.config.hidden_dropout_prob}
    assert model.config.attention_probs_dropout_prob == rate
    assert has_dropout(trainer.encoder) is (rate > 0)
    assert trainer.train_dataset.repeats_once is (rate == 0)
    given = make_trainer(xlm_roberta_folder, tmp_path, dropout=rate, embed_repeats_once=True)
    assert given.train_dataset.repeats_once is True


def test_without_it_the_rates_of_the_folder_stay(xlm_roberta_folder, tmp_path):
    trainer = make_trainer(xlm_roberta_folder, tmp_path)
    assert trainer.encoder.backbone.model.config.hidden_dropout_prob == 0.1
    assert trainer.train_dataset.repeats_once is False


def test_a_run_without_dropout_computes_what_evaluation_computes(xlm_roberta_folder, tmp_path):
    trainer = make_trainer(xlm_roberta_folder, tmp_path, dropout=0)
    encoder = trainer.encoder
    features = encoder.tokenize(["en question 1", "de answer 2 of 14"], "query")
    with torch.no_grad():
        trained, evaluated = (encoder.train(mode)(features) for mode in (True, False))
    torch.testing.assert_close(trained, evaluated)
    by_hand = make_transformer_trainer(xlm_roberta_folder, tmp_path, max_steps=3)
    args = make_transformer_trainer(xlm_roberta_folder, tmp_path, max_steps=3, dropout=0.0)
    assert losses(args) == losses(by_hand)


def test_other_rates_give_other_losses_and_one_the_same(xlm_roberta_folder, tmp_path):
    first, again, other = (
        losses(make_trainer(xlm_roberta_folder, tmp_path, dropout=rate)) for rate in (0.3, 0.3, 0.1)
    )
    assert first == again != other


def test_a_run_goes_on_with_the_same_rate_alone(xlm_roberta_folder, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 1, "dropout": 0.2}
    trainer = make_trainer(xlm_roberta_folder, tmp_path, **options)
    trainer.train()
    checkpoint = str(tmp_path / "checkpoint-1")
    saved = BiEncoder.from_pretrained(checkpoint).backbone.model.config
    assert saved.hidden_dropout_prob == 0.2
    again = make_trainer(xlm_roberta_folder, tmp_path / "again", **options)
    again.train(resume_from_checkpoint=checkpoint)
    for name, weight in again.encoder.state_dict().items():
        assert torch.equal(weight, trainer.encoder.state_dict()[name])
    other = make_trainer(xlm_roberta_folder, tmp_path / "other", **{**options, "dropout": 0.1})
    with pytest.raises(ValueError, match=r"was trained with dropout = 0\.2, this run has 0\.1"):
        other.train(resume_from_checkpoint=checkpoint)


def test_a_static_encoder_has_none(tmp_path):
    trainer = make_trainer(None, tmp_path, model=make_model(), dropout=0.0)
    assert trainer.train_dataset.repeats_once is True
    with pytest.raises(ValueError, match=r"dropout is 0\.1, and a static encoder has no dropout"):
        make_trainer(None, tmp_path, model=make_model(), dropout=0.1)


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (1.0, ValueError, r"dropout is 1\.0; it must be a number from 0 to below 1"),
        (-0.1, ValueError, r"dropout is -0\.1; it must be"),
        (float("nan"), ValueError, "dropout is nan; it must be"),
        ("0.1", TypeError, r"dropout is '0\.1'; a number is needed"),
        (True, TypeError, "dropout is True; a number is needed"),
    ],
)
def test_rates_out_of_range(tmp_path, rate, error, message):
    with pytest.raises(error, match=message):
        make_args(tmp_path, dropout=rate)
