"""Whole runs with a transformer: many processes, low precision, compilation, checkpointing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from ranks import become_rank

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments, token_tables
from hybrid_fast.training.collectives import leave_process_group
from hybrid_fast.training.lazy_adam import LazyAdamW

NUM_STEPS = 20


def make_trainer(folder: Path, output: Path, **options) -> HybridTrainer:
    """The model has no dropout; texts vary in length, and some passages have a hard negative."""
    keys = [(group, lang) for group in range(32) for lang in ("de", "en")]
    table = AlignedTable.from_columns(
        {
            "group_id": [str(group) for group, _ in keys],
            "lang": [lang for _, lang in keys],
            "query": [f"{lang} river {group} " + "sea " * (group % 5) for group, lang in keys],
            "passage": [f"{lang} mountains {group} " * (1 + group % 4) for group, lang in keys],
            "negatives": [
                [f"{lang} sea {group}"] if group % 3 == 0 else [] for group, lang in keys
            ],
        }
    )
    model = BiEncoder.from_pretrained(folder)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        setattr(model.backbone.model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    args = HybridTrainingArguments(
        str(output),
        **{
            "batch_size": 16,
            "max_steps": NUM_STEPS,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "learn_temperature": True,
            "micro_batch_tokens": 60,
            "cached_activation_tokens": 100,
            **options,
        },
    )
    return HybridTrainer(model, args, table)


def recompute_activations() -> dict[str, bool]:
    """Return the option, which transformers 5.23 has renamed."""
    fields = HybridTrainingArguments.__dataclass_fields__
    renamed = "activation_checkpointing" in fields
    return {"activation_checkpointing" if renamed else "gradient_checkpointing": True}


def losses(trainer: HybridTrainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def train_rank(rank: int, world_size: int, folder: Path, output: Path, port: int, options) -> None:
    become_rank(rank, world_size, port)
    trainer = make_trainer(folder, output / str(rank), ddp_backend="gloo", **options)
    found = losses(trainer)
    if rank == 0:
        negatives = trainer.model.loss.options["process_group"] is not None
        (output / "losses.json").write_text(json.dumps([found, negatives]))
    leave_process_group()


@pytest.mark.parametrize("cached_activation_tokens", [0, 100])
def test_lazy_updates_of_token_embeddings_are_those_of_adamw(
    xlm_roberta_folder, tmp_path, monkeypatch, cached_activation_tokens
):
    options = {
        "cached_activation_tokens": cached_activation_tokens,
        "weight_decay": 0.1,
        "warmup_steps": 4,
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


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (2, 2), (4, 1)])
def test_many_processes_give_the_loss_curve_of_one(
    xlm_roberta_folder, tmp_path, free_port, world_size, accumulation
):
    options = {
        "gradient_accumulation_steps": accumulation,
        "max_steps": NUM_STEPS // accumulation,
    }
    expected = losses(make_trainer(xlm_roberta_folder, tmp_path / "one", **options))
    mp.spawn(
        train_rank,
        args=(world_size, xlm_roberta_folder, tmp_path, free_port, options),
        nprocs=world_size,
    )
    found, shares_negatives = json.loads((tmp_path / "losses.json").read_text())
    assert shares_negatives
    assert len(found) == NUM_STEPS // accumulation
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert expected[-1] < expected[0]


def test_processes_that_share_no_negatives_have_the_loss_of_smaller_batches(
    xlm_roberta_folder, tmp_path, free_port
):
    options = {"gather_negatives": False, "max_steps": 1}
    mp.spawn(train_rank, args=(2, xlm_roberta_folder, tmp_path, free_port, options), nprocs=2)
    (found,), shares_negatives = json.loads((tmp_path / "losses.json").read_text())
    assert not shares_negatives
    (whole,) = losses(make_trainer(xlm_roberta_folder, tmp_path / "one", max_steps=1))
    # Of two batches of 8 with a loss near log 8, not near log 16 (hard negatives aside).
    assert found < whole - 0.4


def test_micro_batches_and_graphs_change_no_loss_beyond_rounding(xlm_roberta_folder, tmp_path):
    curves = [
        losses(
            make_trainer(
                xlm_roberta_folder,
                tmp_path,
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
    plain = losses(make_trainer(xlm_roberta_folder, tmp_path, max_steps=3))
    compiled = make_trainer(
        xlm_roberta_folder,
        tmp_path,
        max_steps=3,
        torch_compile=True,
        torch_compile_backend="aot_eager",
    )
    np.testing.assert_allclose(losses(compiled), plain, rtol=1e-5)
    torch._dynamo.reset()
