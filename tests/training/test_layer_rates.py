"""Learning rates of layers: groups of the optimiser, followed by schedule, log and resumption."""

from __future__ import annotations

import pytest
import torch
from toy_training import make_args, make_model, make_table, weights
from toy_training import make_transformer_trainer as make_trainer
from transformers import TrainerCallback

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.layer_rates import layer_rates
from hybrid_fast.training.lazy_adam import LazyAdamW

CHECKPOINTS = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}


class Rates(TrainerCallback):
    """The rate of each weight at each update, by its name in the encoder."""

    def __init__(self, encoder) -> None:
        self.names = {id(weight): name for name, weight in encoder.named_parameters()}
        self.seen: list[dict[str, float]] = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.seen.append(
            {
                self.names.get(id(weight), "temperature"): group["lr"]
                for group in optimizer.param_groups
                for weight in group["params"]
            }
        )


def rates_of(trainer: HybridTrainer, checkpoint=None) -> list[dict[str, float]]:
    rates = Rates(trainer.encoder)
    trainer.add_callback(rates)
    trainer.train(resume_from_checkpoint=checkpoint)
    return rates.seen


def part(name: str) -> str:
    return name.split("layer.")[1][0] if "layer." in name else name.split(".")[-2]


@pytest.mark.parametrize("folder", ["bert_folder", "xlm_roberta_folder"])
def test_a_layer_learns_slower_than_the_one_above_it(request, tmp_path, folder):
    path = request.getfixturevalue(folder)
    trainer = make_trainer(path, tmp_path, layer_lr_decay=0.5, max_steps=1, warmup_steps=0)
    [rates] = rates_of(trainer)
    expected = {"1": 1e-3, "0": 5e-4, "temperature": 1e-3}
    for name, rate in rates.items():
        assert rate == expected.get(part(name) if name != "temperature" else name, 2.5e-4)
    assert set(rates) == {
        *(n for n, w in trainer.encoder.named_parameters() if w.requires_grad),
        "temperature",
    }


def test_what_follows_the_layers_has_the_full_rate(qwen_folder, tmp_path):
    encoder = BiEncoder.from_pretrained(qwen_folder)
    rates = layer_rates(encoder, make_args(tmp_path, layer_lr_decay=0.1))
    model = "backbone.model"
    assert rates[f"{model}.norm.weight"].factor == 1
    assert rates[f"{model}.layers.1.mlp.up_proj.weight"].factor == 1
    assert rates[f"{model}.embed_tokens.weight"].factor == pytest.approx(0.01)


def test_names_have_factors_and_the_first_that_matches_counts(bert_folder, tmp_path):
    options = {
        "lr_multipliers": {"embeddings": 0.1, ".*query": 10.0, r"layer\.1": 2.0, ".*": 1.0},
        "layer_lr_decay": 0.5,
        "max_steps": 1,
    }
    [rates] = rates_of(make_trainer(bert_folder, tmp_path, **options))
    layer = "backbone.model.encoder.layer"
    assert rates[f"{layer}.0.attention.self.query.weight"] == pytest.approx(5e-3)
    assert rates[f"{layer}.1.attention.self.query.bias"] == pytest.approx(1e-2)
    assert rates[f"{layer}.1.output.dense.weight"] == pytest.approx(2e-3)
    assert rates[f"{layer}.0.output.dense.weight"] == pytest.approx(5e-4)
    embeddings = "backbone.model.embeddings.word_embeddings.weight"
    assert rates[embeddings] == pytest.approx(0.25e-4)


def adamw_by_hand(trainer: HybridTrainer, decay: float, weight_decay: float):
    """Return an AdamW of a group for each weight of a BERT of two layers."""
    groups = []
    for name, weight in trainer.model.named_parameters():
        above = 2 if "embeddings" in name else 1 if "layer.0" in name else 0
        decays = not ("bias" in name or "LayerNorm" in name or name.startswith("loss"))
        if weight.requires_grad:
            options = {"weight_decay": weight_decay if decays else 0.0}
            groups.append({"params": [weight], "lr": 1e-3 * decay**above, **options})
    return torch.optim.AdamW(groups, lr=1e-3)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_run_is_that_of_groups_made_by_hand(bert_folder, tmp_path, monkeypatch, lazy):
    options = {"max_steps": 6, "weight_decay": 0.1, "lr_scheduler_type": "cosine"}
    by_hand = make_trainer(bert_folder, tmp_path, **options)
    by_hand.optimizer = adamw_by_hand(by_hand, 0.6, 0.1)
    by_hand.train()
    if lazy:
        monkeypatch.setattr("hybrid_fast.training.token_tables._LARGE_TABLE", 1)
    trainer = make_trainer(bert_folder, tmp_path, layer_lr_decay=0.6, **options)
    trainer.train()
    assert isinstance(trainer.optimizer.optimizer, LazyAdamW) is lazy
    expected = weights(by_hand.encoder)
    for name, weight in weights(trainer.encoder).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-6)


def test_the_schedule_scales_each_group_and_the_log_has_the_base(bert_folder, tmp_path):
    options = {"layer_lr_decay": 0.5, "max_steps": 4, "lr_scheduler_type": "linear"}
    for multipliers in (None, {".*": 3.0}):
        trainer = make_trainer(bert_folder, tmp_path, lr_multipliers=multipliers, **options)
        seen = rates_of(trainer)
        logged = [e["learning_rate"] for e in trainer.state.log_history if "learning_rate" in e]
        assert logged == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
        factor = 3.0 if multipliers else 1.0
        for rates, rate in zip(seen, logged, strict=True):
            assert max(rates.values()) == pytest.approx(rate * factor)
            assert min(rates.values()) == pytest.approx(rate * factor / 4)


def test_what_is_said_of_the_rate_is_the_base_and_its_largest_factor(bert_folder, tmp_path):
    options = {"max_steps": 2, "lr_scheduler_type": "constant"}
    plain = make_trainer(bert_folder, tmp_path, layer_lr_decay=0.5, **options)
    plain.train()
    assert plain.in_effect().rate == "0.001 (constant schedule of 0.001)"
    trainer = make_trainer(bert_folder, tmp_path, lr_multipliers={"layer.0": 20.0}, **options)
    trainer.train()
    in_effect = trainer.in_effect()
    assert in_effect.learning_rate == pytest.approx(1e-3)
    assert in_effect.rate == "0.001 (constant schedule of 0.001, times 20 where it is largest)"


def test_adapters_learn_by_the_layer_that_they_are_in(xlm_roberta_folder, tmp_path):
    peft = pytest.importorskip("peft")
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    config = peft.LoraConfig(r=2, target_modules=["query", "value"])
    peft.inject_adapter_in_model(config, model.backbone.model)
    options = {"layer_lr_decay": 0.5, "lr_multipliers": {"lora_B": 4.0}, "max_steps": 1}
    args = make_args(tmp_path, learning_rate=1e-3, **options)
    [rates] = rates_of(HybridTrainer(model, args, make_table()))
    found = {(part(name), "lora_B" in name): rate for name, rate in rates.items()}
    expected = {("1", False): 1e-3, ("1", True): 4e-3, ("0", False): 5e-4, ("0", True): 2e-3}
    assert found == expected


@pytest.mark.parametrize("optim", ["adafactor", "sgd", "adamw_torch_fused"])
def test_other_optimisers_have_the_groups_too(bert_folder, tmp_path, optim):
    options = {"layer_lr_decay": 0.5, "max_steps": 2, "lr_scheduler_type": "constant"}
    seen = rates_of(make_trainer(bert_folder, tmp_path, optim=optim, **options))
    assert {round(rate / 1e-3, 6) for rate in seen[-1].values()} == {1.0, 0.5, 0.25}


def test_an_optimiser_that_is_given(xlm_roberta_folder, tmp_path):
    given = (torch.optim.SGD, {"lr": 0.1, "momentum": 0.5})
    args = make_args(tmp_path, layer_lr_decay=0.5, max_steps=1, lr_scheduler_type="constant")
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    trainer = HybridTrainer(model, args, make_table(), optimizer_cls_and_kwargs=given)
    [rates] = rates_of(trainer)
    assert set(rates.values()) == {0.1, 0.05, 0.025}
    optimizers = (torch.optim.SGD(model.parameters(), lr=0.1), None)
    for options in ({"layer_lr_decay": 0.5}, {"lr_multipliers": {"embeddings": 0.1}}):
        (name,) = options
        args = make_args(tmp_path, **options)
        with pytest.raises(ValueError, match=f"{name} is .*, and HybridTrainer is given an opti"):
            HybridTrainer(model, args, make_table(), optimizers=optimizers)


def test_an_optimiser_that_chooses_its_rate_is_refused(xlm_roberta_folder, tmp_path):
    class Own(torch.optim.SGD):
        def __init__(self, params):
            super().__init__(params, lr=0.1)
            for group in self.param_groups:
                group["lr"] = None

    args = make_args(tmp_path, layer_lr_decay=0.5, max_steps=1)
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    own = HybridTrainer(model, args, make_table(), optimizer_cls_and_kwargs=(Own, {}))
    with pytest.raises(ValueError, match="need an optimiser that takes a learning rate, and Own"):
        own.train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_lr_decay": 0.0}, "layer_lr_decay is 0.0; it must be above 0 and at most 1"),
        ({"layer_lr_decay": 1.1}, "layer_lr_decay is 1.1; it must be"),
        ({"layer_lr_decay": float("nan")}, "layer_lr_decay is nan; it must be"),
        ({"lr_multipliers": {}}, r"lr_multipliers is \{\}; factors by name are needed"),
        ({"lr_multipliers": [0.1]}, r"lr_multipliers is \[0.1\]; factors by name"),
        ({"lr_multipliers": {"a": 0}}, "gives 'a' the factor 0; a number above 0 is needed"),
        ({"lr_multipliers": {"a": "1"}}, "gives 'a' the factor '1'; a number above 0"),
        ({"lr_multipliers": {"a": True}}, "gives 'a' the factor True; a number above 0"),
        ({"lr_multipliers": {"a": float("inf")}}, "gives 'a' the factor inf"),
        ({"lr_multipliers": {3: 1.0}}, "lr_multipliers has 3; the name of a module"),
        ({"lr_multipliers": {"[": 1.0}}, r"lr_multipliers: '\[' is no regular expression"),
    ],
    ids=str,
)
def test_values_out_of_range(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_args(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_multipliers": {"embedings": 2.0}}, "'embedings'; did you mean 'embeddings'"),
        (
            {"lr_multipliers": {"embeddings": 2.0}, "frozen_layers": 0},
            "lr_multipliers: 'embeddings' matches frozen weights alone; leave it out",
        ),
    ],
    ids=str,
)
def test_names_that_match_nothing_to_train(bert_folder, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(bert_folder, tmp_path, **options)


def test_an_encoder_without_layers(tmp_path):
    with pytest.raises(ValueError, match="layer_lr_decay: a static encoder has no layers"):
        HybridTrainer(make_model(), make_args(tmp_path, layer_lr_decay=0.9), make_table())
    args = make_args(tmp_path, lr_multipliers={"embedding": 0.5}, max_steps=1)
    [rates] = rates_of(HybridTrainer(make_model(), args, make_table()))
    assert set(rates.values()) == {0.01}
