"""A run that goes on from a checkpoint ends as one that was never interrupted."""

from __future__ import annotations

import errno
import json

import pytest
import torch
from safetensors.torch import load_file
from toy_training import (
    RecordingTrainer,
    make_args,
    make_model,
    make_table,
    plain_adamw,
    same,
    weights,
)

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, token_tables
from hybrid_fast.training.checkpoints import last_checkpoint
from hybrid_fast.training.lazy_adam import LazyAdamW
from hybrid_fast.training.memory import TokenBudget

pytestmark = pytest.mark.usefixtures("every_table_is_large")


@pytest.mark.parametrize(("accumulation", "large_table"), [(1, 1), (2, 1), (2, 10_000)])
def test_a_resumed_run_ends_bit_equal_and_fetches_unseen_steps_only(
    tmp_path, accumulation, large_table, monkeypatch
):
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", large_table)
    options = {
        "gradient_accumulation_steps": accumulation,
        "max_steps": 20 // accumulation,
        "learn_temperature": True,
    }
    whole = RecordingTrainer(make_model(), make_args(tmp_path / "whole", **options), make_table())
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": 16 // accumulation, **options}
    interrupted = make_args(tmp_path / "cut", **saving)
    RecordingTrainer(make_model(), interrupted, make_table()).train()

    resumed = RecordingTrainer(make_model(seed=1), interrupted, make_table())
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{16 // accumulation}"))
    assert resumed.fetched == list(range(16, 20))  # the middle of epoch 2
    assert whole.fetched == list(range(20))
    assert same(weights(whole.model), weights(resumed.model))


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one_whole(tmp_path, monkeypatch):
    def save_unless_full(*arguments, **options):
        if trainer.state.global_step == 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    real = torch.save
    monkeypatch.setattr(torch, "save", save_unless_full)
    args = make_args(tmp_path, save_strategy="steps", save_steps=10, save_total_limit=1)
    trainer = HybridTrainer(make_model(), args, make_table())
    message = f"{tmp_path / 'checkpoint-20'} could not be written: the disk is full, .*; make room"
    with pytest.raises(OSError, match=message):
        trainer.train()
    assert last_checkpoint(str(tmp_path)).name == "checkpoint-10"


def test_true_resumes_from_the_last_complete_checkpoint(tmp_path):
    args = make_args(tmp_path, save_strategy="steps", save_steps=10)
    HybridTrainer(make_model(), args, make_table()).train()
    (tmp_path / "checkpoint-30" / "trainer_state.json").unlink()
    assert last_checkpoint(str(tmp_path)).name == "checkpoint-20"
    resumed = RecordingTrainer(make_model(), args, make_table())
    resumed.train(resume_from_checkpoint=True)
    assert resumed.fetched == list(range(20, 30))
    with pytest.raises(ValueError, match="no complete checkpoint to resume from"):
        last_checkpoint(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 6}, "was trained with batch_size = 12, this run has 6"),
        ({"kind": "cross"}, "kind = 'hybrid', this run has 'cross'"),
        ({"learn_temperature": True}, "learn_temperature = False"),
    ],
)
def test_resuming_with_another_plan_is_an_error(tmp_path, options, message):
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
    HybridTrainer(make_model(), make_args(tmp_path, **saving), make_table()).train()
    other = HybridTrainer(make_model(), make_args(tmp_path, **saving, **options), make_table())
    with pytest.raises(ValueError, match=message):
        other.train(resume_from_checkpoint=True)


def test_resuming_with_another_model_is_an_error(tmp_path):
    args = make_args(tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    HybridTrainer(make_model(), args, make_table()).train()
    texts = make_table().queries(range(20))
    other = BiEncoder.static(texts, dim=8, vocab_size=100, seed=0)
    with pytest.raises(ValueError, match="holds another model: its weights are"):
        HybridTrainer(other, args, make_table()).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("lazy_first", [True, False])
def test_lazy_updates_and_adamw_go_on_from_checkpoints_of_one_another(tmp_path, lazy_first):
    args = make_args(tmp_path, max_steps=20, save_strategy="steps", save_steps=10)
    kinds = [{}, plain_adamw(args)]
    first, second = kinds if lazy_first else kinds[::-1]
    whole = HybridTrainer(make_model(), args, make_table(), **first)
    whole.train()
    resumed = HybridTrainer(make_model(), args, make_table(), **second)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert isinstance(resumed.optimizer.optimizer, LazyAdamW) != lazy_first
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=1e-4, atol=2e-5)


def test_a_checkpoint_keeps_the_token_budget_and_a_resumed_run_takes_it(
    tmp_path, xlm_roberta_folder, caplog
):
    """The budget decides which texts are padded together, so on the last bits."""
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-3}

    def make_trainer(**more) -> HybridTrainer:
        model = BiEncoder.from_pretrained(xlm_roberta_folder)
        return HybridTrainer(model, make_args(tmp_path, **options, **more), make_table())

    whole = make_trainer()
    whole.cached_step.budget = TokenBudget(100, 250)
    with caplog.at_level("INFO", logger="hybrid_fast"):
        whole.train()
    assert "Each query is contrasted with 11 in-batch negatives; " in caplog.text
    assert caplog.text.count("Texts are embedded 100 tokens at a time, padding included") == 1
    assert "activations are cached for 250 of the" in caplog.text
    path = tmp_path / "checkpoint-2" / "token_budget.json"
    assert json.loads(path.read_text()) == {"micro_batch": 100, "cached": 250, "num_halvings": 0}
    resumed = make_trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.cached_step.budget == TokenBudget(100, 250)
    assert same(weights(whole.model), weights(resumed.model))
    kept_by_hand = make_trainer(cached_activation_tokens=30)
    kept_by_hand.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert kept_by_hand.cached_step.budget == TokenBudget(100, 30)
    by_hand = make_trainer(micro_batch_tokens=60, cached_activation_tokens=0)
    by_hand.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert by_hand.cached_step.budget == TokenBudget(60, 0)


@pytest.mark.parametrize("name", ["micro_batch_tokens", "cached_activation_tokens"])
def test_a_budget_that_is_set_no_more_is_found_anew(tmp_path, xlm_roberta_folder, caplog, name):
    def run(resume=None, **more) -> HybridTrainer:
        args = make_args(tmp_path, max_steps=4, save_strategy="steps", save_steps=2, **more)
        trainer = HybridTrainer(BiEncoder.from_pretrained(xlm_roberta_folder), args, make_table())
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    field = {"micro_batch_tokens": "micro_batch", "cached_activation_tokens": "cached"}[name]
    assert getattr(run(**{name: 60}).cached_step.budget, field) == 60
    again = run(str(tmp_path / "checkpoint-2"))
    assert f"{name} 60 -> None" in caplog.text
    assert getattr(again.cached_step.budget, field) > 60


@pytest.mark.parametrize("content", [{}, {"batch_size": 12, "kind": "hybrid"}])
def test_a_checkpoint_of_an_older_version_says_so(tmp_path, content):
    args = make_args(tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    HybridTrainer(make_model(), args, make_table()).train()
    path = tmp_path / "checkpoint-2" / "plan.json"
    path.write_text(json.dumps(content))
    trainer = HybridTrainer(make_model(), args, make_table())
    with pytest.raises(ValueError, match=f"{path} is of an older version of hybrid_fast; start an"):
        trainer.train(resume_from_checkpoint=True)


def test_a_learned_temperature_is_trained_saved_and_not_decayed(tmp_path):
    args = make_args(
        tmp_path, learn_temperature=True, weight_decay=0.1, save_strategy="steps", save_steps=30
    )
    trainer = HybridTrainer(make_model(), args, make_table())
    trainer.train()
    saved = load_file(tmp_path / "checkpoint-30" / "loss.safetensors")
    assert saved["log_temperature"] == trainer.model.loss.log_temperature
    assert trainer.model.loss.temperature.item() != pytest.approx(0.05)
    assert "loss.log_temperature" not in trainer.get_decay_parameter_names(trainer.model)
