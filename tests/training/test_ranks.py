"""Several processes train as one: batches, losses, weights and evaluations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import run_ranks
from toy_training import (
    Task,
    losses,
    make_args,
    make_model,
    make_table,
    make_transformer_trainer,
)

from hybrid_fast.training import HybridTrainer, token_tables
from hybrid_fast.training.termination import leave_process_group


def train_static(rank: int, world_size: int, folder: Path) -> dict[str, Any]:
    token_tables._LARGE_TABLE = 1  # see LazyAdamW; in another process there is no fixture
    options = {"ddp_backend": "gloo"} if world_size > 1 else {}
    args = make_args(
        folder / f"out{world_size}",
        learn_temperature=True,
        max_steps=8,
        max_grad_norm=0.0,
        **options,
    )
    trainer = HybridTrainer(make_model(), args, make_table(), Task())
    trainer.train()
    metrics = trainer.evaluate()
    record = {
        "rows": [trainer.sampler.batch(step).query_rows.tolist() for step in range(5)],
        "multi_map": metrics["eval_multi_map"],
        "embedding": trainer.encoder.encode_queries(["en question 3"]).tolist(),
        "temperature": trainer.model.loss.temperature.item(),
        "losses": [e["loss"] for e in trainer.state.log_history if "loss" in e],
    }
    leave_process_group()
    return record


def test_two_ranks_partition_the_global_batch_and_train_as_one(tmp_path, every_table_is_large):
    one = train_static(0, 1, tmp_path)
    first, second = run_ranks(train_static, 2, tmp_path)
    assert [a + b for a, b in zip(first["rows"], second["rows"], strict=True)] == one["rows"]
    assert first["multi_map"] == second["multi_map"]
    np.testing.assert_allclose(first["embedding"], second["embedding"], rtol=0)
    np.testing.assert_allclose(first["embedding"], one["embedding"], atol=2e-5)
    assert first["temperature"] == pytest.approx(one["temperature"], rel=1e-5)


def train_transformer(
    rank: int, world_size: int, folder: Path, output: Path, options: dict[str, Any]
) -> tuple[list[float], bool]:
    """Return the losses, and whether negatives are shared."""
    trainer = make_transformer_trainer(folder, output / str(rank), ddp_backend="gloo", **options)
    found = losses(trainer)
    leave_process_group()
    return found, trainer.model.loss.options["process_group"] is not None


@pytest.mark.parametrize(("world_size", "accumulation"), [(2, 1), (2, 2), (4, 1)])
def test_many_processes_give_the_loss_curve_of_one(
    xlm_roberta_folder, tmp_path, world_size, accumulation
):
    num_steps = 20 // accumulation
    options = {"gradient_accumulation_steps": accumulation, "max_steps": num_steps}
    expected = losses(make_transformer_trainer(xlm_roberta_folder, tmp_path / "one", **options))
    (found, shares_negatives), *_ = run_ranks(
        train_transformer, world_size, xlm_roberta_folder, tmp_path, options
    )
    assert shares_negatives
    assert len(found) == num_steps
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert expected[-1] < expected[0]


def test_processes_that_share_no_negatives_have_the_loss_of_smaller_batches(
    xlm_roberta_folder, tmp_path
):
    options = {"gather_negatives": False, "max_steps": 1}
    ((found,), shares_negatives), _ = run_ranks(
        train_transformer, 2, xlm_roberta_folder, tmp_path, options
    )
    assert not shares_negatives
    (whole,) = losses(make_transformer_trainer(xlm_roberta_folder, tmp_path / "one", max_steps=1))
    # Of two batches of 8 with a loss near log 8, not near log 16 (hard negatives aside).
    assert found < whole - 0.4


class SlowTask(Task):
    def evaluate(self, model, batch_size=8):
        time.sleep(12)
        return super().evaluate(model, batch_size)


def train_slowly(rank: int, world_size: int, folder: Path) -> dict[str, Any]:
    """Evaluate, then save, for longer than a collective may take."""
    args = make_args(
        folder, max_steps=2, ddp_timeout=10, eval_strategy="steps", eval_steps=2, save_steps=2,
        save_strategy="steps",
    )  # fmt: skip
    trainer = HybridTrainer(make_model(), args, make_table(), SlowTask())
    save = trainer.encoder.save_pretrained

    def save_slowly(*arguments: Any, **options: Any) -> None:
        time.sleep(12)
        save(*arguments, **options)

    trainer.encoder.save_pretrained = save_slowly
    trainer.train()
    values = [e["eval_multi_map"] for e in trainer.state.log_history if "eval_multi_map" in e]
    record = {"values": values, "weights": trainer.encoder.backbone.embedding.weight.detach()}
    leave_process_group()
    return record


@pytest.mark.slow
def test_ranks_outlast_an_evaluation_and_a_checkpoint_that_take_longer_than_a_collective(tmp_path):
    first, second = run_ranks(train_slowly, 2, tmp_path)
    assert first["values"] == second["values"] == [0.8]
    assert torch.equal(first["weights"], second["weights"])
    assert len(list(tmp_path.glob("checkpoint-2"))) == 1


def diverge(rank: int, world_size: int, folder: Path) -> str:
    """Train with a loss that is NaN on one rank alone."""
    trainer = HybridTrainer(make_model(), make_args(folder, max_steps=2), make_table())
    loss = trainer.model.loss.forward

    def forward(*arguments: Any, **options: Any) -> torch.Tensor:
        return loss(*arguments, **options) * (torch.nan if rank == 1 else 1.0)

    trainer.model.loss.forward = forward
    with pytest.raises(ValueError, match="training diverged at step 0") as caught:
        trainer.train()
    leave_process_group()
    return str(caught.value).rpartition(": ")[2]


def test_a_loss_that_is_no_number_on_one_rank_ends_all(tmp_path):
    assert run_ranks(diverge, 2, tmp_path) == [
        "the loss is not finite on another rank",
        "the loss is nan",
    ]


def fail_to_save(rank: int, world_size: int, folder: Path) -> str:
    args = make_args(folder, max_steps=2, save_strategy="steps", save_steps=2)
    trainer = HybridTrainer(make_model(), args, make_table())

    def save(*arguments: Any, **options: Any) -> None:
        raise OSError("no space left on device")

    trainer.encoder.save_pretrained = save
    with pytest.raises(OSError, match="no space left") as caught:
        trainer.train()
    return str(caught.value)


def test_a_checkpoint_that_cannot_be_written_ends_all(tmp_path):
    first, second = run_ranks(fail_to_save, 2, tmp_path)
    assert first == "no space left on device"
    assert second == "rank 0 of 2: no space left on device"  # and not that the model is saved
