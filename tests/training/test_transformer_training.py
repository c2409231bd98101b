"""Whole runs with a transformer: low precision, compilation, checkpointing, lazy updates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_training import losses, make_args, make_model, make_table, same, weights
from toy_training import make_transformer_trainer as make_trainer
from transformers import AutoConfig, AutoTokenizer, BertModel

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments, token_tables
from hybrid_fast.training.lazy_adam import LazyAdamW


def recompute_activations() -> dict[str, bool]:
    """Return the option, which transformers 5.23 has renamed."""
    fields = HybridTrainingArguments.__dataclass_fields__
    renamed = "activation_checkpointing" in fields
    return {"activation_checkpointing" if renamed else "gradient_checkpointing": True}


@pytest.mark.parametrize("cached_activation_tokens", [0, 100])
def test_lazy_updates_of_token_embeddings_are_those_of_adamw(
    xlm_roberta_folder, tmp_path, monkeypatch, cached_activation_tokens
):
    options = {
        "cached_activation_tokens": cached_activation_tokens,
        "weight_decay": 0.1,
        "warmup_steps": 4,
        "max_steps": 12,
    }
    trainers = [make_trainer(xlm_roberta_folder, tmp_path, **options) for _ in range(2)]
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", 1)
    lazy = losses(trainers[0])
    monkeypatch.undo()
    plain = losses(trainers[1])
    kinds = [isinstance(trainer.optimizer.optimizer, LazyAdamW) for trainer in trainers]
    assert kinds == [True, False]
    np.testing.assert_allclose(lazy, plain, rtol=1e-5)
    for name, weight in trainers[1].encoder.state_dict().items():
        torch.testing.assert_close(
            trainers[0].encoder.state_dict()[name], weight, rtol=1e-3, atol=1e-4
        )


def test_micro_batches_and_graphs_change_no_loss_beyond_rounding(xlm_roberta_folder, tmp_path):
    curves = [
        losses(
            make_trainer(
                xlm_roberta_folder,
                tmp_path,
                max_steps=12,
                micro_batch_tokens=tokens,
                cached_activation_tokens=kept,
            )
        )
        for tokens, kept in ((10**6, 10**6), (60, 0), (20, 90))
    ]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    np.testing.assert_allclose(curves[2], curves[0], rtol=1e-5)


def test_bf16_follows_float32(xlm_roberta_folder, tmp_path):
    exact = losses(make_trainer(xlm_roberta_folder, tmp_path, max_steps=5))
    rounded = losses(make_trainer(xlm_roberta_folder, tmp_path, max_steps=5, bf16=True))
    np.testing.assert_allclose(rounded, exact, rtol=2e-2)
    assert rounded != exact


def test_gradient_checkpointing_changes_no_loss(xlm_roberta_folder, tmp_path):
    plain = losses(make_trainer(xlm_roberta_folder, tmp_path, max_steps=5))
    recomputed = losses(
        make_trainer(xlm_roberta_folder, tmp_path, max_steps=5, **recompute_activations())
    )
    np.testing.assert_allclose(recomputed, plain, rtol=1e-5)


def test_a_compiled_encoder_gives_the_same_losses(xlm_roberta_folder, tmp_path):
    """Of one layer: each more is compiled for as long again, with gradient and without."""
    compilation = {"torch_compile": True, "torch_compile_backend": "aot_eager"}
    curves = []
    for options in ({}, compilation):
        trainer = make_trainer(xlm_roberta_folder, tmp_path, max_steps=3, **options)
        del trainer.encoder.backbone.model.encoder.layer[1:]
        curves.append(losses(trainer))
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    torch._dynamo.reset()


def test_compiled_lengths_stay_within_the_positions(tmp_path, bert_folder):
    limit = 50  # no multiple of the lengths that are compiled for
    config = AutoConfig.from_pretrained(bert_folder)
    config.max_position_embeddings, config.num_hidden_layers = limit, 1
    BertModel(config).save_pretrained(tmp_path / "short")
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "short")
    model = BiEncoder.from_pretrained(tmp_path / "short", query_prompt="", passage_prompt="")
    assert model.max_length == {"query": limit, "passage": limit}
    words = ["river", "begins", "mountains", "ends", "sea", "Fluss", "Meer", "Bergen", "km", "Wo"]
    passages = [f"in {word} " * limit for word in words]
    table = AlignedTable.from_columns(
        {
            "group_id": words,
            "lang": ["en"] * 10,
            "query": [f"the {word}" for word in words],
            "passage": passages,
        }
    )
    options = {"torch_compile": True, "torch_compile_backend": "eager", "kind": "mono"}
    args = make_args(tmp_path, max_steps=1, batch_size=10, **options)
    trainer = HybridTrainer(model, args, table)
    assert trainer.train_dataset[0].lengths.max() == limit
    trainer.train()
    assert trainer.state.global_step == 1
    torch._dynamo.reset()


def test_a_learned_temperature_stands_validation_losses_and_accumulation(tmp_path):
    """A loss is computed between the forward and the backward pass of another."""

    def trained(validates: bool) -> HybridTrainer:
        options = {"learn_temperature": True, "gradient_accumulation_steps": 2, "max_steps": 4}
        trainer = HybridTrainer(make_model(), make_args(tmp_path, **options), make_table())
        loss, backward = trainer.model.loss, trainer.cached_step.backward

        def validate_first(value) -> None:
            queries = torch.eye(4, 16)
            assert loss(queries, queries.flip(0)).isfinite()
            with torch.no_grad():
                assert loss(queries, queries).isfinite()
            backward(value)

        if validates:
            trainer.cached_step.backward = validate_first
        trainer.train()
        return trainer

    validating, plain = trained(True), trained(False)
    assert same(weights(validating.model), weights(plain.model))
    assert plain.model.loss.temperature.item() != pytest.approx(0.05)
