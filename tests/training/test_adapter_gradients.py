"""Gradients of adapters are those of one plain graph, however activations are kept or computed."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from adapted_models import adapted
from ranks import run_ranks
from toy_training import losses, make_args, make_table, weights
from transformers import AutoModel, TrainerCallback

from hybrid_fast.models import BiEncoder
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments
from hybrid_fast.training.gradient_cache import GradientCache, MicroBatch
from hybrid_fast.training.lazy_adam import LazyAdamW
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.termination import leave_process_group

LORA = {"r": 3, "target_modules": ["query", "value", "dense"], "lora_dropout": 0.3}
TEXTS = ["en question 3", "de answer 4 of 28", "fr question 7", "en answer 1 of 7 and more", "de"]
SEED = 5
RENAMED = "activation_checkpointing" in HybridTrainingArguments.__dataclass_fields__
WAYS = {"kept": None, "recomputed": False, "reentrant": True}


def recomputing(use_reentrant: bool | None) -> dict[str, object]:
    """Return arguments, whose names transformers 5.23 has changed."""
    if use_reentrant is None:
        return {}
    name = "activation_checkpointing" if RENAMED else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": use_reentrant}}


def micro_batches(model: BiEncoder) -> list[MicroBatch]:
    rows = [torch.tensor([4, 0]), torch.tensor([1]), torch.tensor([3, 2])]
    features = [model.tokenize([TEXTS[row] for row in part], "passage") for part in rows]
    return [
        MicroBatch(part, batch, batch["input_ids"].numel())
        for part, batch in zip(rows, features, strict=True)
    ]


def gradients(model: BiEncoder) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def plain_gradients(model: BiEncoder, autocast) -> dict[str, torch.Tensor]:
    outputs = []
    for index, batch in enumerate(micro_batches(model)):
        torch.manual_seed(SEED + index)
        with autocast():
            outputs.append(model(batch.features))
    rows = torch.cat([batch.rows for batch in micro_batches(model)])
    embeddings = torch.cat(outputs)[rows.argsort()]
    InfoNCELoss(0.1)(embeddings[:2], embeddings[2:]).backward()
    return gradients(model)


def cached_gradients(model: BiEncoder, autocast, num_cached: int) -> dict[str, torch.Tensor]:
    cache = GradientCache(model, autocast)
    embedded = cache.embed(micro_batches(model), num_cached, SEED)
    InfoNCELoss(0.1)(embedded.embeddings[:2], embedded.embeddings[2:]).backward()
    cache.back_propagate(embedded)
    return gradients(model)


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    vectors = [torch.cat([g[name].flatten().float() for name in first]) for g in (first, second)]
    return float((vectors[0] - vectors[1]).norm() / vectors[1].norm())


@pytest.mark.parametrize("num_cached", [0, 20, 10**6])
@pytest.mark.parametrize("dtype", ["float32", "bf16"])
@pytest.mark.parametrize("mixed", [False, True], ids=["plain", "autocast"])
@pytest.mark.parametrize("way", WAYS)
def test_dropout_masks_are_drawn_again_and_gradients_are_those_of_one_graph(
    xlm_roberta_folder, way, mixed, dtype, num_cached
):
    autocast = partial(torch.autocast, "cpu", torch.bfloat16) if mixed else nullcontext

    def make() -> BiEncoder:
        return adapted(xlm_roberta_folder, LORA, dtype=dtype).train()

    expected = plain_gradients(make(), autocast)
    assert expected.keys() == {n for n, p in make().named_parameters() if p.requires_grad}
    assert all(gradient.norm() > 0 for gradient in expected.values())
    model = make()
    if WAYS[way] is not None:
        options = {"use_reentrant": WAYS[way]}
        whole = ContrastiveModel(model, InfoNCELoss(0.1))
        if RENAMED:
            whole.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
        else:
            whole.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    # A reentrant backward pass runs under autocast, which rounds elsewhere.
    tolerance = 1e-2 if mixed and way == "reentrant" else 1e-6
    assert distance(cached_gradients(model, autocast, num_cached), expected) < tolerance


def without_dropout(folder: Path) -> BiEncoder:
    model = BiEncoder.from_pretrained(folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    return model


def trainer_of(model: BiEncoder, output: Path, **options) -> HybridTrainer:
    options = {
        "max_steps": 4, "learning_rate": 1e-2, "logging_steps": 1, "micro_batch_tokens": 60,
        "cached_activation_tokens": 100, **options,
    }  # fmt: skip
    return HybridTrainer(model, make_args(output, **options), make_table())


@pytest.mark.parametrize("bf16", [False, True])
def test_whole_runs_are_the_same_however_activations_are_computed(
    xlm_roberta_folder, tmp_path, bf16
):
    found = []
    for way, cached in (("kept", 10**6), ("recomputed", 0), ("reentrant", 50)):
        model = BiEncoder.from_pretrained(xlm_roberta_folder)
        options = {"cached_activation_tokens": cached, **recomputing(WAYS[way])}
        trainer = trainer_of(model, tmp_path, adapter=LORA, bf16=bf16, **options)
        found.append(losses(trainer))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-3 if bf16 else 1e-6)
    assert len(set(found[0])) == 4


def test_reentrant_checkpoints_above_frozen_layers(xlm_roberta_folder, tmp_path):
    found = []
    for way in ("kept", "reentrant"):
        model = BiEncoder.from_pretrained(xlm_roberta_folder)
        options = {"frozen_layers": 1, "learning_rate": 1e-3, **recomputing(WAYS[way])}
        found.append(losses(trainer_of(model, tmp_path, **options)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("dtype", ["bf16", "float32"])
def test_a_frozen_base_stays_as_it_is(xlm_roberta_folder, tmp_path, dtype, bf16):
    model = BiEncoder.from_pretrained(xlm_roberta_folder, dtype=dtype)
    options = {**LORA, "lora_dropout": 0.0}
    trainer = trainer_of(model, tmp_path, adapter=options, bf16=bf16)
    before = weights(model)
    curve = losses(trainer)
    plain = AutoModel.from_pretrained(
        xlm_roberta_folder, dtype=getattr(torch, {"bf16": "bfloat16"}.get(dtype, dtype))
    )
    for name, weight in model.backbone.model.named_parameters():
        if weight.requires_grad:
            assert weight.dtype == torch.float32
            assert not torch.equal(weight, before[f"backbone.model.{name}"])
        elif "lora_" not in name:
            saved = plain.get_parameter(name.replace(".base_layer", ""))
            assert weight.dtype == saved.dtype
            assert torch.equal(weight, saved)
    states = trainer.optimizer.state_dict()["state"]
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(states) == len(trained)
    assert {moment["exp_avg"].dtype for moment in states.values()} == {torch.float32}
    exact = BiEncoder.from_pretrained(xlm_roberta_folder)
    np.testing.assert_allclose(
        curve, losses(trainer_of(exact, tmp_path, adapter=options)), rtol=5e-2
    )


BESIDE = {
    "normalisation": {"modules_to_save": ["LayerNorm"]},
    "layer": {"modules_to_save": ["intermediate.dense"]},
    "embeddings": {"modules_to_save": ["word_embeddings"]},
    "biases": {"bias": "lora_only"},
    "all biases": {"bias": "all"},
}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("kind", BESIDE)
def test_what_is_trained_beside_an_adapter_meets_a_half_precision_base(
    xlm_roberta_folder, tmp_path, kind, bf16
):
    lora = {"r": 2, "target_modules": ["query"], **BESIDE[kind]}
    saving = {"save_strategy": "steps", "save_steps": 2, "dropout": 0.0}

    def make(dtype: str) -> HybridTrainer:
        model = BiEncoder.from_pretrained(xlm_roberta_folder, dtype=dtype)
        return trainer_of(model, tmp_path / dtype, adapter=lora, bf16=bf16, **saving)

    whole = make("bf16")
    curve = losses(whole)
    model = whole.encoder.backbone.model
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    assert model.embeddings.position_embeddings.weight.dtype == torch.bfloat16
    np.testing.assert_allclose(curve, losses(make("float32")), rtol=5e-2)
    resumed = make("bf16")
    resumed.train(resume_from_checkpoint=tmp_path / "bf16" / "checkpoint-2")
    for name, weight in weights(whole.encoder).items():
        assert torch.equal(weight, weights(resumed.encoder)[name])
    whole.encoder.merge_adapter()
    again = trainer_of(whole.encoder, tmp_path / "again", bf16=bf16)  # all weights are trained
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert np.isfinite(losses(again)).all()


def test_weights_that_are_thawed_by_hand_meet_a_half_precision_base(xlm_roberta_folder, tmp_path):
    model = adapted(xlm_roberta_folder, LORA, dtype="bf16")
    model.backbone.model.encoder.layer[1].attention.output.LayerNorm.requires_grad_(True)
    model.backbone.model.embeddings.word_embeddings.requires_grad_(True)
    assert np.isfinite(losses(trainer_of(model, tmp_path))).all()
    model.float()
    assert np.isfinite(model.encode_passages(TEXTS)).all()


def test_a_base_in_another_half_precision_than_autocast_is_widened(xlm_roberta_folder, tmp_path):
    found = []
    for dtype in ("fp16", "float32"):
        model = BiEncoder.from_pretrained(xlm_roberta_folder, dtype=dtype)
        found.append(losses(trainer_of(model, tmp_path, adapter=LORA, bf16=True)))
        assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    np.testing.assert_allclose(found[0], found[1], rtol=1e-2)


def test_tables_of_tokens_are_left_alone_unless_an_adapter_trains_them(
    xlm_roberta_folder, tmp_path, every_table_is_large
):
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    trainer = trainer_of(model, tmp_path, adapter=LORA)
    losses(trainer)
    assert not isinstance(trainer.optimizer.optimizer, LazyAdamW)


def test_a_table_that_is_trained_beside_an_adapter_is_updated_lazily(
    xlm_roberta_folder, tmp_path, monkeypatch
):
    """A model that is saved in the middle holds rows that are up to date."""
    options = {**LORA, "modules_to_save": ["word_embeddings"], "lora_dropout": 0.0}

    def run(large: int) -> tuple[HybridTrainer, BiEncoder, list[float]]:
        monkeypatch.setattr("hybrid_fast.training.token_tables._LARGE_TABLE", large)
        model = without_dropout(xlm_roberta_folder)
        trainer = trainer_of(model, tmp_path / str(large), adapter=options, max_steps=6)

        class Save(TrainerCallback):
            def on_step_end(self, args, state, control, **_):
                if state.global_step == 4:
                    trainer.save_model(str(tmp_path / f"model{large}"))

        trainer.add_callback(Save())
        curve = losses(trainer)
        return trainer, BiEncoder.from_pretrained(tmp_path / f"model{large}"), curve

    lazy, saved_lazily, curve = run(1)
    plain, saved, expected = run(10**6)
    kinds = [isinstance(each.optimizer.optimizer, LazyAdamW) for each in (lazy, plain)]
    assert kinds == [True, False]
    np.testing.assert_allclose(curve, expected, rtol=1e-5)
    for name, weight in saved.state_dict().items():
        torch.testing.assert_close(saved_lazily.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def train_on_ranks(rank: int, world_size: int, folder: Path, output: Path) -> dict:
    model = BiEncoder.from_pretrained(folder)
    options = {"ddp_backend": "gloo"} if world_size > 1 else {}
    lora = {**LORA, "lora_dropout": 0.0}
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    torch.manual_seed(rank)  # first weights are those of the seed of the arguments
    trainer = trainer_of(
        model,
        output / str(world_size),
        adapter=lora,
        save_strategy="steps",
        save_steps=2,
        **options,
    )
    curve = losses(trainer)
    state = weights(model)
    leave_process_group()
    return {"curve": curve, "state": state}


@pytest.mark.slow
def test_two_ranks_train_one_adapter(xlm_roberta_folder, tmp_path):
    one = train_on_ranks(0, 1, xlm_roberta_folder, tmp_path)
    first, second = run_ranks(train_on_ranks, 2, xlm_roberta_folder, tmp_path)
    for name, weight in first["state"].items():
        assert torch.equal(weight, second["state"][name])
        torch.testing.assert_close(weight, one["state"][name], rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(first["curve"], one["curve"], rtol=1e-5)
    saved = BiEncoder.from_pretrained(tmp_path / "2" / "checkpoint-4")
    assert torch.equal(
        saved.state_dict()[
            "backbone.model.encoder.layer.0.attention.self.query.lora_A.default.weight"
        ],
        first["state"]["backbone.model.encoder.layer.0.attention.self.query.lora_A.default.weight"],
    )
