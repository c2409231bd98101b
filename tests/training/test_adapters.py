"""Training of adapters: checkpoints hold them alone, and whole and resumed runs are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from adapted_models import adapted, peft, read_by_peer, wrapped
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense
from toy_training import Task, make_args, make_table, same, weights

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer

SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "learning_rate": 1e-2}
LORA = {"r": 2, "target_modules": ["query", "value"], "lora_dropout": 0.3}
TEXTS = ["en answer 3 of 21", "de answer 4 of 28"]
KINDS = {
    "lora": LORA,
    "dora": {**LORA, "use_dora": True},
    "whole modules": {**LORA, "modules_to_save": ["LayerNorm"]},
    "linear": {"lora_dropout": 0.1},
    "ia3": {
        "peft_type": "IA3",
        "target_modules": ["key", "dense"],
        "feedforward_modules": ["dense"],
    },
}


def trainer_of(model: BiEncoder, output: Path, task=None, **options) -> HybridTrainer:
    return HybridTrainer(model, make_args(output, **SAVING | options), make_table(), task)


def vectors(model) -> np.ndarray:
    return model.encode_passages(TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_encoder_goes_on_from_a_checkpoint_to_the_bit(xlm_roberta_folder, tmp_path, kind):
    def make(**options) -> HybridTrainer:
        model = BiEncoder.from_pretrained(xlm_roberta_folder)
        return trainer_of(model, tmp_path, adapter=KINDS[kind], **options)

    whole = make()
    before = weights(whole.encoder)
    whole.train()
    changed = {k for k, v in weights(whole.encoder).items() if not torch.equal(v, before[k])}
    trained = {name for name, p in whole.encoder.named_parameters() if p.requires_grad}
    assert changed <= trained
    assert len(changed) > len(trained) / 2
    resumed = make()
    torch.manual_seed(7)  # nothing that came before counts
    resumed.train(resume_from_checkpoint=tmp_path / "checkpoint-2")
    assert same(weights(whole.encoder), weights(resumed.encoder))
    last = make()
    last.train(resume_from_checkpoint=True)  # nothing is left to train
    assert same(weights(whole.encoder), weights(last.encoder))
    loaded = BiEncoder.from_pretrained(tmp_path / "checkpoint-4")
    np.testing.assert_array_equal(vectors(loaded), vectors(whole.encoder))


def test_a_peft_model_of_the_users_goes_on_too(xlm_roberta_folder, tmp_path):
    config = peft.LoraConfig(**LORA)
    whole = trainer_of(wrapped(xlm_roberta_folder, config), tmp_path)
    whole.train()
    resumed = trainer_of(wrapped(xlm_roberta_folder, config), tmp_path)
    resumed.train(resume_from_checkpoint=tmp_path / "checkpoint-2")
    assert same(weights(whole.encoder), weights(resumed.encoder))
    loaded = BiEncoder.from_pretrained(tmp_path / "checkpoint-4")
    np.testing.assert_array_equal(vectors(loaded), vectors(whole.encoder))
    other = trainer_of(wrapped(xlm_roberta_folder, peft.LoraConfig(**LORA, lora_alpha=3)), tmp_path)
    with pytest.raises(ValueError, match=r"was trained with adapter = .*'lora_alpha': 3"):
        other.train(resume_from_checkpoint=True)


def test_the_best_model_is_loaded_at_the_end_and_saved_merged(xlm_roberta_folder, tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "multi_map"}
    trainer = trainer_of(
        BiEncoder.from_pretrained(xlm_roberta_folder), tmp_path, Task(), adapter=LORA,
        max_steps=8, eval_strategy="steps", eval_steps=2, **best,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_global_step == 6
    found = vectors(trainer.encoder)
    checkpoints = [BiEncoder.from_pretrained(tmp_path / f"checkpoint-{n}") for n in (6, 8)]
    np.testing.assert_array_equal(vectors(checkpoints[0]), found)
    assert np.abs(vectors(checkpoints[1]) - found).max() > 1e-5
    trainer.save_model(str(tmp_path / "model"))
    assert not list((tmp_path / "model").glob("adapter*"))
    np.testing.assert_allclose(
        vectors(BiEncoder.from_pretrained(tmp_path / "model")), found, atol=1e-5
    )
    other = SentenceTransformer(str(tmp_path / "model"))
    np.testing.assert_allclose(other.encode_document(TEXTS), found, atol=1e-5)


@pytest.mark.parametrize("merge", [True, False])
def test_models_are_saved_merged_or_apart_as_asked(xlm_roberta_folder, tmp_path, merge):
    trainer = trainer_of(
        BiEncoder.from_pretrained(xlm_roberta_folder), tmp_path, adapter=LORA, merge_adapter=merge,
        learn_temperature=True,
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    assert (tmp_path / "adapter_config.json").exists() != merge
    assert (tmp_path / "model.safetensors").exists() == merge
    loaded = BiEncoder.from_pretrained(tmp_path)
    np.testing.assert_allclose(vectors(loaded), vectors(trainer.encoder), atol=1e-5)
    assert trainer.encoder.adapter_config is not None


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_modules_after_pooling_are_trained_and_saved_with_the_adapter(
    xlm_roberta_folder, tmp_path, dtype
):
    encoder = SentenceTransformer(str(xlm_roberta_folder))
    encoder.append(Dense(32, 8))
    encoder.save(str(tmp_path / "base"))

    def make() -> HybridTrainer:
        model = BiEncoder.from_pretrained(tmp_path / "base", dtype=dtype)
        return trainer_of(model, tmp_path, adapter=LORA)

    whole = make()
    before = weights(whole.encoder.head)
    whole.train()
    assert not any(torch.equal(before[n], v) for n, v in weights(whole.encoder.head).items())
    resumed = make()
    resumed.train(resume_from_checkpoint=tmp_path / "checkpoint-2")
    assert same(weights(whole.encoder), weights(resumed.encoder))
    whole.save_model(str(tmp_path / "merged"))
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for folder in (tmp_path / "merged", tmp_path / "checkpoint-4"):
        loaded = BiEncoder.from_pretrained(folder, dtype=dtype)
        np.testing.assert_allclose(vectors(loaded), vectors(whole.encoder), atol=tolerance)
        other = read_by_peer(folder)
        np.testing.assert_allclose(other.encode_document(TEXTS), vectors(loaded), atol=tolerance)


def test_a_checkpoint_holds_no_weight_and_no_state_of_the_base(xlm_roberta_folder, tmp_path):
    trainer = trainer_of(BiEncoder.from_pretrained(xlm_roberta_folder), tmp_path, adapter=LORA)
    trainer.train()
    folder = tmp_path / "checkpoint-4"
    assert not list(folder.glob("model*"))
    assert not (folder / "trained.safetensors").exists()
    size = 2 * 2 * (2 * 32 + 32 * 2)  # two layers, query and value, A and B
    state = load_file(folder / "adapter_model.safetensors")
    assert sum(value.numel() for value in state.values()) == size
    moments = torch.load(folder / "optimizer.pt")["state"].values()
    assert sum(moment["exp_avg"].numel() for moment in moments) == size
    frozen = [p for p in trainer.encoder.parameters() if not p.requires_grad]
    assert len(frozen) > 30
    assert all(p.grad is None for p in frozen)


def test_weights_that_are_trained_beside_an_adapter_are_kept_beside_it(
    xlm_roberta_folder, tmp_path, caplog
):
    def make() -> HybridTrainer:
        model = adapted(xlm_roberta_folder, LORA)
        model.backbone.model.embeddings.LayerNorm.requires_grad_(True)
        return trainer_of(model, tmp_path)

    whole = make()
    whole.train()
    said = "2 weights are trained beside the adapter, such as embeddings.LayerNorm.weight"
    assert said in caplog.text  # who loads the checkpoint by itself has them not
    names = set(load_file(tmp_path / "checkpoint-2" / "trained.safetensors"))
    assert names == {":embeddings.LayerNorm.weight", ":embeddings.LayerNorm.bias"}
    resumed = make()
    resumed.train(resume_from_checkpoint=tmp_path / "checkpoint-2")
    assert same(weights(whole.encoder), weights(resumed.encoder))
    (tmp_path / "checkpoint-2" / "trained.safetensors").unlink()
    with pytest.raises(ValueError, match=r"LayerNorm.weight, which is trained beside the adapter"):
        make().train(resume_from_checkpoint=tmp_path / "checkpoint-2")


def test_another_adapter_is_refused_with_both_values(xlm_roberta_folder, tmp_path):
    trainer_of(BiEncoder.from_pretrained(xlm_roberta_folder), tmp_path, adapter=LORA).train()

    def resume(model, **options) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            trainer_of(model, tmp_path, **options).train(resume_from_checkpoint=True)
        return str(caught.value)

    plain = BiEncoder.from_pretrained(xlm_roberta_folder)
    message = resume(plain, adapter={**LORA, "lora_alpha": 4})
    assert re.search(r"trained with adapter = \{'peft_type': 'LORA', 'r': 2, .*\}, this", message)
    assert "'lora_alpha': 4" in message
    assert "this run has None" in resume(BiEncoder.from_pretrained(xlm_roberta_folder))
    assert "this run has None" in resume(adapted(xlm_roberta_folder, LORA))


def test_how_an_adapter_is_written_makes_no_difference_to_a_resumption(
    xlm_roberta_folder, tmp_path
):
    whole = trainer_of(BiEncoder.from_pretrained(xlm_roberta_folder), tmp_path, adapter={"r": 8})
    whole.train()
    written = {"peft_type": "LORA", "lora_dropout": 0.0, "lora_alpha": 8}
    for model in (xlm_roberta_folder, tmp_path / "checkpoint-2"):
        resumed = trainer_of(BiEncoder.from_pretrained(model), tmp_path, adapter=written)
        resumed.train(resume_from_checkpoint=tmp_path / "checkpoint-2")
        assert same(weights(whole.encoder), weights(resumed.encoder))


def test_the_rate_of_dropout_of_the_encoder_leaves_that_of_the_adapter(
    xlm_roberta_folder, tmp_path
):
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    trainer_of(model, tmp_path, adapter=LORA, dropout=0.05)
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if "lora" in name} == {0.3}
    assert {rate for name, rate in rates.items() if "lora" not in name} == {0.05}


def test_an_adapter_that_is_there_already(xlm_roberta_folder, tmp_path, caplog):
    first = trainer_of(BiEncoder.from_pretrained(xlm_roberta_folder), tmp_path, adapter=LORA)
    first.train()
    model = BiEncoder.from_pretrained(tmp_path / "checkpoint-4")
    before = weights(model)
    second = trainer_of(model, tmp_path / "more", adapter=LORA)  # the same one
    assert same(before, weights(second.encoder))
    second.train()
    assert not same(before, weights(second.encoder))
    trainer_of(model, tmp_path / "more").train()  # whichever is there
    for other in ({**LORA, "r": 3}, {**LORA, "use_dora": True}, {"r": 2, "lora_dropout": 0.3}):
        with pytest.raises(ValueError, match=r"adapter is .*has another one already: .*merge it"):
            trainer_of(model, tmp_path / "more", adapter=other)
    whole = adapted(xlm_roberta_folder, {"r": 2})
    trainer_of(whole, tmp_path / "more", adapter={"r": 2, "target_modules": "all-linear"})


def test_wrong_models_are_refused_when_the_trainer_is_made(xlm_roberta_folder, tmp_path):
    static = BiEncoder.static(["a text"])
    with pytest.raises(ValueError, match="static encoder has no layers for an adapter"):
        trainer_of(static, tmp_path, adapter=LORA)
    with pytest.raises(ValueError, match=r"names 'qury'.*did you mean 'query'"):
        trainer_of(
            BiEncoder.from_pretrained(xlm_roberta_folder),
            tmp_path,
            adapter={"target_modules": ["qury"]},
        )
    frozen = adapted(xlm_roberta_folder)
    frozen.requires_grad_(False)
    with pytest.raises(ValueError, match="of the encoder and of its adapter are frozen"):
        trainer_of(frozen, tmp_path)
    frozen = BiEncoder.from_pretrained(xlm_roberta_folder)
    frozen.requires_grad_(False)
    trainer_of(frozen, tmp_path, adapter=LORA)  # the adapter is trained
    several = wrapped(xlm_roberta_folder)
    several.backbone.model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["key"]))
    with pytest.raises(ValueError, match="2 adapters, default, other, and one is supported"):
        trainer_of(several, tmp_path)


def test_the_argument_is_a_mapping_json_or_a_configuration(tmp_path):
    assert make_args(tmp_path, adapter=LORA).adapter == LORA
    assert make_args(tmp_path, adapter=json.dumps(LORA)).adapter == LORA
    config = make_args(tmp_path, adapter=peft.LoraConfig(**LORA)).adapter
    assert config == {"peft_type": "LORA", **LORA}
    assert json.loads(make_args(tmp_path, adapter=LORA).to_json_string())["adapter"] == LORA
    for given, message in (
        ("r=8", "adapter is 'r=8'; a mapping is needed, .*JSON"),
        ("[1]", "a mapping is needed"),
        ({"r": 0}, "r is 0"),
        ({"dropout": 8}, "LoraConfig has no option 'dropout'; did you mean 'lora_dropout'"),
    ):
        with pytest.raises(ValueError, match=message):
            make_args(tmp_path, adapter=given)
    with pytest.raises(TypeError, match=r"is 8; options of peft.LoraConfig are needed"):
        make_args(tmp_path, adapter=8)
