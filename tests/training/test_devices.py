"""Where training runs without being told: the CPU if there is nothing else, and with all ranks."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from toy_training import make_args, make_model, make_table

from hybrid_fast.common.launch import find_launch
from hybrid_fast.cpu import half_precision
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.devices import check_joined, join_ranks, trains_on_cpu
from hybrid_fast.training.termination import leave_process_group


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def test_the_cpu_is_taken_where_there_is_nothing_else(monkeypatch, no_accelerator):
    assert trains_on_cpu()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not trains_on_cpu()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert trains_on_cpu()


@pytest.mark.usefixtures("no_accelerator")
def test_bfloat16_trains_on_a_cpu_that_nobody_asked_for(tmp_path):
    args = make_args(tmp_path, use_cpu=False, bf16=True, max_steps=3, logging_steps=1)
    assert args.device == torch.device("cpu")
    trainer = HybridTrainer(make_model(), args, make_table())
    assert trainer.accelerator.mixed_precision == "bf16"
    trainer.train()
    assert trainer.state.global_step == 3
    assert trainer.encoder.backbone.embedding.weight.dtype == torch.float32


@pytest.mark.usefixtures("no_accelerator")
def test_fp16_is_refused_on_the_cpu(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"fp16 is for accelerators.*use bf16"):
        make_args(tmp_path, use_cpu=False, fp16=True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(ValueError, match=r"fp16 is for accelerators.*use bf16"):
        make_args(tmp_path)


@pytest.mark.usefixtures("no_accelerator")
def test_tf32_of_a_recipe_for_gpus_is_left_out_on_the_cpu(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        args = make_args(tmp_path, use_cpu=False, tf32=True)
    assert args.tf32 is None
    assert "tf32 is left out" in caplog.text


def launched(monkeypatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_processes_of_mpirun_that_cannot_find_one_another(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    launched(monkeypatch, OMPI_COMM_WORLD_SIZE="2", OMPI_COMM_WORLD_RANK="1")
    with pytest.raises(ValueError, match=r"mpirun of Open MPI has started 2 .* MASTER_ADDR"):
        join_ranks(on_cpu=True)


def test_a_world_size_that_is_not_followed(monkeypatch):
    launched(monkeypatch, WORLD_SIZE="2", RANK="0")
    with pytest.raises(ValueError, match=r"2 processes were started .* on mps.* use_cpu=True"):
        check_joined(1, torch.device("mps"))
    check_joined(2, torch.device("cpu"))


def test_a_process_group_that_accelerate_knows_nothing_of(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="a process group of 2 ranks, but the variable WORLD_SIZE"):
        check_joined(1, torch.device("cpu"))


def train(rank: int, world_size: int, folder: Path, launcher: str) -> dict[str, Any]:
    """Train as a process of this launcher, without a word about the device."""
    if launcher == "mpirun":
        for name, mpi in (("WORLD_SIZE", "SIZE"), ("RANK", "RANK"), ("LOCAL_RANK", "LOCAL_RANK")):
            os.environ[f"OMPI_COMM_WORLD_{mpi}"] = os.environ.pop(name)
    torch.accelerator.is_available = lambda: False  # in another process there is no fixture
    args = make_args(
        folder, use_cpu=False, bf16=True, max_steps=2, save_strategy="steps", save_steps=2
    )
    trainer = HybridTrainer(make_model(), args, make_table())
    trainer.train()
    record = {
        "launch": [find_launch().world_size, find_launch().rank],
        "sampler": [trainer.sampler.world_size, trainer.sampler.rank],
        "negatives": args.describe_negatives(),
        "saves": [args.should_save, args.should_log],
        "weights": trainer.encoder.backbone.embedding.weight.detach(),
    }
    leave_process_group()
    return record


@pytest.mark.parametrize("launcher", ["torchrun", "mpirun"])
def test_processes_of_a_launcher_train_together_on_the_cpu(tmp_path, launcher):
    first, second = run_ranks(train, 2, tmp_path, launcher)
    assert first["launch"] == first["sampler"] == [2, 0]
    assert second["launch"] == second["sampler"] == [2, 1]
    assert "with 11 in-batch negatives (shared over 2 processes)" in first["negatives"]
    assert first["saves"] == [True, True]
    assert second["saves"] == [False, False]
    assert torch.equal(first["weights"], second["weights"])
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    states = sorted(path.name for path in checkpoint.glob("rng_state*"))
    assert states == ["rng_state_0.pth", "rng_state_1.pth"]


@pytest.mark.parametrize("given", ["bf16=True", "ACCELERATE_MIXED_PRECISION=bf16"])
def test_emulated_bfloat16_is_said_once_when_training_starts(
    tmp_path, emulating, monkeypatch, caplog, given
):
    if given != "bf16=True":
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    args = make_args(tmp_path, max_steps=1, bf16=given == "bf16=True")
    trainers = [HybridTrainer(make_model(), args, make_table()) for _ in range(2)]
    assert "emulates" not in caplog.text
    for trainer in trainers:
        trainer.train()
    (said,) = (text for text in caplog.messages if "emulates" in text)
    assert said.startswith(f"{given}: this processor (AMD EPYC 7763) has no products of bfloat16")
    assert "take 16 times as long as in float32" in said
    assert said.endswith("Set bf16=False." if given == "bf16=True" else "Leave it out.")


def test_a_checkpoint_in_emulated_bfloat16_needs_a_new_run(tmp_path, emulating, caplog):
    args = make_args(tmp_path, max_steps=1, bf16=True, save_strategy="steps", save_steps=1)
    HybridTrainer(make_model(), args, make_table()).train()
    half_precision._said.clear()
    HybridTrainer(make_model(), args, make_table()).train(resume_from_checkpoint=True)
    first, second = (text for text in caplog.messages if "emulates" in text)
    assert first.endswith("Set bf16=False.")
    assert second.endswith(
        "checkpoint-1 is followed with bf16=True alone; start anew to set bf16=False."
    )


def test_the_loss_in_bfloat16_and_float32_are_no_such_case(tmp_path, emulating, caplog):
    for options in ({"loss_precision": "bf16"}, {}):
        args = make_args(tmp_path, max_steps=1, **options)
        HybridTrainer(make_model(), args, make_table()).train()
    assert "emulates" not in caplog.text


def train_emulated(rank: int, world_size: int, folder: Path) -> list[str]:
    half_precision.processor = lambda: {"name": "EPYC", "instruction_sets": ["avx2"]}
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("hybrid_fast").addHandler(handler)
    args = make_args(folder, max_steps=1, bf16=True)
    HybridTrainer(make_model(), args, make_table()).train()
    leave_process_group()
    return [text for text in said if "emulates" in text]


def test_one_rank_says_it_for_all(tmp_path):
    first, second = run_ranks(train_emulated, 2, tmp_path)
    assert len(first) == 1
    assert second == []
