"""Several processes train as one: batches, losses, weights and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from hybrid_fast.training.collectives import leave_process_group


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
