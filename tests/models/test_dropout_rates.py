"""One rate of dropout in place of all those of a configuration, whatever a family calls them."""

import json

import pytest
import torch
from shape_folders import SHAPES, make_folder
from torch import nn
from transformers import DistilBertConfig, DistilBertModel, PretrainedConfig

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.dropout_rates import has_dropout, set_dropout


@pytest.mark.parametrize("name", SHAPES)
def test_training_is_random_at_a_half_and_is_evaluation_at_zero(name):
    model = SHAPES[name].build()
    tokens = torch.arange(4, 22).reshape(2, 9)

    def states():
        return model(input_ids=tokens).last_hidden_state

    evaluated = states()
    set_dropout(model, 0.5)
    torch.testing.assert_close(states(), evaluated)
    model.train()
    assert not torch.equal(states(), states())
    set_dropout(model, 0)
    torch.testing.assert_close(states(), evaluated)
    torch.testing.assert_close(states(), evaluated)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("bert", ["hidden_dropout_prob", "attention_probs_dropout_prob"]),
        ("distilbert", ["dropout", "attention_dropout"]),
        ("t5", ["dropout_rate"]),
        ("gpt2", ["resid_pdrop", "embd_pdrop", "attn_pdrop"]),
        ("modernbert", ["attention_dropout", "mlp_dropout", "embedding_dropout"]),
        ("qwen3", ["attention_dropout"]),
    ],
)
def test_every_place_that_holds_a_rate_has_the_new_one(name, fields):
    model = SHAPES[name].build()
    set_dropout(model, 0.25)
    config = model.config.to_dict()
    assert {config[field] for field in fields} == {0.25}
    assert {module.p for module in model.modules() if isinstance(module, nn.Dropout)} <= {0.25}
    again = type(model)(type(model.config).from_dict(config))  # as a checkpoint is loaded
    assert rates_by_module(again) == rates_by_module(model)


def rates_by_module(model):
    """Return all numbers that have to do with dropout, by module and name."""
    return {
        (place, name): value
        for place, module in model.named_modules()
        for name, value in vars(module).items()
        if "drop" in name or (isinstance(module, nn.Dropout) and name == "p")
    }


def test_heads_and_layers_that_are_left_out_keep_their_own_rates():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = PretrainedConfig(classifier_dropout=0.1, dropout=0.2, use_dropout=True)
            self.config.encoder_layerdrop = self.layerdrop = 0.3
            self.dropout = 0.2
            self.lora_dropout = nn.ModuleDict({"default": nn.Dropout(0.4)})

    model = Model()
    set_dropout(model, 0.5)
    config = model.config
    assert (config.dropout, config.classifier_dropout, config.use_dropout) == (0.5, 0.1, True)
    assert (model.dropout, model.layerdrop, config.encoder_layerdrop) == (0.5, 0.3, 0.3)
    assert model.lora_dropout["default"].p == 0.4
    set_dropout(model, 0)
    assert model.dropout == model.layerdrop == config.encoder_layerdrop == 0
    assert model.lora_dropout["default"].p == 0.4


def test_the_option_of_an_encoder_is_saved(tmp_path, texts):
    folder = make_folder("modernbert", tmp_path / "model")
    model = BiEncoder.from_pretrained(folder, dropout=0.5)
    assert not any(each.training for each in model.modules() if isinstance(each, nn.Dropout))
    plain = BiEncoder.from_pretrained(folder)
    assert (model.encode_queries(texts) == plain.encode_queries(texts)).all()
    features = model.train().tokenize(texts, "query")
    assert not torch.equal(model(features), model(features))
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["mlp_dropout"] == 0.5
    again = model.untrained().train()
    assert not torch.equal(again(features), again(features))


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan"), "0.1", True])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=r"dropout is .* a number from 0 to below 1"):
        set_dropout(nn.Dropout(0.1), rate)


def test_a_model_without_dropout(tmp_path, texts):
    BiEncoder.static(texts, 8, 99).save_pretrained(tmp_path / "static")
    assert BiEncoder.from_pretrained(tmp_path / "static", dropout=0).embedding_dim == 8
    with pytest.raises(ValueError, match=r"dropout is 0.1, and a static encoder has no dropout"):
        BiEncoder.from_pretrained(tmp_path / "static", dropout=0.1)
    with pytest.raises(ValueError, match=r"dropout is 0.1, and a Linear has no dropout"):
        set_dropout(nn.Linear(2, 2), 0.1)


def test_rates_of_heads_that_embed_no_text_are_no_dropout():
    """DistilBERT's configuration has rates of a classifier and of a reader."""
    config = DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16, vocab_size=20)
    model = DistilBertModel(config)
    assert has_dropout(model)
    set_dropout(model, 0)
    assert config.seq_classif_dropout > 0
    assert not has_dropout(model)
    model.adapter = nn.Dropout(0.1)
    assert has_dropout(model)
