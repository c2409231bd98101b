"""Ranks compare what they train before the first step, and all say which differs in what."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks
from toy_training import LANGUAGES, Task, make_args, make_model, make_table

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments
from hybrid_fast.training.agreement import OF_A_RANK, facts_of_arguments, facts_of_run
from hybrid_fast.training.fields import HARMLESS
from hybrid_fast.training.termination import leave_process_group


def rows_of(table: AlignedTable, rows: range) -> AlignedTable:
    groups = [str(row // len(LANGUAGES)) for row in rows]
    langs = [LANGUAGES[row % len(LANGUAGES)] for row in rows]
    texts = {"query": table.queries(rows), "passage": table.passages(rows)}
    return AlignedTable.from_columns({"group_id": groups, "lang": langs, **texts})


def make_parts(rank: int, folder: Path, what: str) -> tuple[Any, ...]:
    """Return model, arguments, table and evaluator of a rank; only that of rank 1 is peculiar."""
    is_other = rank == 1
    whole = make_table()
    rows = range(len(whole))
    if is_other and what in ("order", "rows"):
        rows = rows[::-1] if what == "order" else rows[:-3]
    table, model, options, task = rows_of(whole, rows), make_model(), {"max_steps": 2}, None
    if is_other and what == "weights":
        with torch.no_grad():
            model.backbone.embedding.weight[7, 3] += 1e-3
    elif is_other and what == "prompt":
        model.prompts["query"] = "find: "
    elif is_other and what == "tokenizer":
        texts = [f"quite other words {number}" for number in range(300)]
        model = BiEncoder.static(texts, dim=16, vocab_size=300, seed=0)
    elif is_other and what == "evaluator":
        task = Task()
    elif is_other and "=" in what:
        name, value = what.split("=")
        options[name] = type(getattr(make_args(folder), name))(value)
    if what == "nothing":  # that matters
        options |= {"run_name": f"run {rank}", "log_level": ["info", "error"][rank]}
    return model, make_args(folder / str(rank), **options), table, task


def construct(rank: int, world_size: int, folder: Path, what: str) -> str:
    said = "nothing"
    model, args, table, task = make_parts(rank, folder, what)
    try:
        HybridTrainer(model, args, table, task).train()
    except ValueError as error:
        said = str(error)
    leave_process_group()
    return said


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nothing", "nothing"),
        ("order", "differ in fingerprint of the table (rank"),
        ("rows", "differ in number of rows (rank 0: 144, rank 1: 141)"),
        ("weights", "differ in weight backbone.embedding.weight (rank"),
        ("prompt", "differ in prompt of a query (rank 0: '', rank 1: 'find: ')"),
        ("tokenizer", "differ in tokenizer of a query (rank"),
        ("evaluator", "differ in evaluator (rank 0: none, rank 1: Task)"),
        ("seed=3", "differ in seed (rank 0: 42, rank 1: 3)"),
        ("max_steps=7", "differ in max_steps (rank 0: 2, rank 1: 7)"),
        ("logging_steps=2", "differ in logging_steps (rank 0: 5, rank 1: 2)"),
        ("learning_rate=0.5", "differ in learning_rate (rank 0: 0.02, rank 1: 0.5)"),
    ],
)
def test_all_ranks_say_which_differs_in_what(tmp_path, what, said):
    first, second = run_ranks(construct, 2, tmp_path, what)
    assert first == second
    assert said in first
    if what != "nothing":
        assert "give all of them the same rows in the same order, the same model" in first


def change_later(rank: int, world_size: int, folder: Path) -> str:
    trainer = HybridTrainer(make_model(), make_args(folder), make_table())
    if rank == 2:
        trainer.args.learning_rate = 0.25
    with pytest.raises(ValueError, match="ranks of this training differ") as caught:
        trainer.train()
    leave_process_group()
    return str(caught.value)


def test_arguments_that_one_of_three_ranks_changes_after_construction(tmp_path):
    first, *others = run_ranks(change_later, 3, tmp_path)
    assert "differ in learning_rate (rank 2: 0.25, ranks 0, 1: 0.02)" in first
    assert others == [first, first]


def resume(rank: int, world_size: int, folder: Path) -> str:
    """Resume from the last checkpoint, of which the machine of rank 1 has an older one."""
    own = folder / str(rank)
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    HybridTrainer(make_model(), make_args(own, **options), make_table()).train()
    if rank == 1:
        shutil.rmtree(own)  # with its states of random numbers
        shutil.copytree(folder / "0" / "checkpoint-2", own / "checkpoint-2")
    trainer = HybridTrainer(make_model(), make_args(own, **options), make_table())
    with pytest.raises(ValueError, match="ranks of this training differ") as caught:
        trainer.train(resume_from_checkpoint=True)
    leave_process_group()
    return str(caught.value)


def test_ranks_that_would_resume_from_different_checkpoints(tmp_path):
    first, second = run_ranks(resume, 2, tmp_path)
    assert first == second
    assert "differ in checkpoint (rank 0: checkpoint-4, rank 1: checkpoint-2)" in first


def fail_alone(rank: int, world_size: int, folder: Path) -> str:
    """Construct; one rank's table has too few rows for a batch of one language."""
    args = make_args(folder, kind="mono", batch_size=40)
    table = make_table()
    with pytest.raises(ValueError, match="40") as caught:
        HybridTrainer(make_model(), args, table if rank else rows_of(table, range(30)))
    leave_process_group()
    return str(caught.value)


def test_a_rank_that_cannot_begin_tells_the_others_why(tmp_path):
    first, second = run_ranks(fail_alone, 2, tmp_path)
    assert second == f"rank 0 of 2: {first}"


def test_every_argument_is_compared_or_of_a_rank_or_harmless(tmp_path):
    args = make_args(tmp_path)
    names = {field.name for field in dataclasses.fields(HybridTrainingArguments)}
    compared = set(facts_of_arguments(args))
    assert compared | OF_A_RANK | set(HARMLESS) >= names
    assert not compared & (OF_A_RANK | set(HARMLESS))
    assert {"seed", "learning_rate", "batch_size", "kind", "alpha", "temperature"} <= compared
    assert {"optim", "bf16", "save_steps", "eval_strategy", "micro_batch_tokens"} <= compared


def test_one_process_hashes_no_weights(tmp_path):
    assert facts_of_run(make_args(tmp_path), make_table(), make_model(), None) == {}


def train_with_adapters(rank: int, world_size: int, base: Path, output: Path, what: str) -> str:
    options = {"adapter": {"r": 2, "target_modules": ["query"]}, "frozen_layers": 0}
    others = {
        "adapter": {"r": 2, "target_modules": ["key"]},
        "frozen_layers": 1,
        "lr_multipliers": {"lora_B": 16.0},
        "dropout": 0.2,
    }
    if rank == 1:
        options[what] = others[what]
    said = "nothing"
    try:
        args = make_args(output, max_steps=1, **options)
        HybridTrainer(BiEncoder.from_pretrained(base), args, make_table()).train()
    except ValueError as error:
        said = str(error)
    leave_process_group()
    return said


@pytest.mark.slow
@pytest.mark.parametrize("what", ["adapter", "frozen_layers", "lr_multipliers", "dropout"])
def test_ranks_that_would_train_other_weights(xlm_roberta_folder, tmp_path, what):
    pytest.importorskip("peft")
    for said in run_ranks(train_with_adapters, 2, xlm_roberta_folder, tmp_path, what):
        assert "the ranks of this training differ in" in said
        assert f"{what} (rank" in said
