"""Running recipes: build the model, train, evaluate, and write the folder of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from hybrid_fast.cli.recipe import Recipe
from hybrid_fast.data import AlignedTable, load_builtin, load_tables
from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

CHECKPOINTS = "checkpoints"
MODEL = "model"


def train_table(recipe: Recipe) -> AlignedTable:
    """Load the training items of a recipe.

    Raises:
        ValueError: a source that cannot be read; the message names file, line and field.
    """
    if recipe.train == "builtin":
        return load_builtin("train")
    if isinstance(recipe.train, str):
        raise ValueError(f"train is {recipe.train!r}; it must be 'builtin' or a list of sources")
    return load_tables(recipe.train, root=recipe.data_root)


def build_model(recipe: Recipe, table: AlignedTable, seed: int) -> BiEncoder:
    """Make the encoder: from scratch on the table's texts, or from a folder or hub name."""
    if recipe.model != "static":
        return BiEncoder.from_pretrained(recipe.model, **recipe.model_options)
    texts = [
        *table.queries(np.flatnonzero(table.has_query)),
        *table.passages(np.flatnonzero(table.has_passage)),
    ]
    return BiEncoder.static(texts, **{"seed": seed, **recipe.model_options})


def build_task(recipe: Recipe) -> RetrievalTask | None:
    """Load the task of a recipe, if it has one."""
    if recipe.task is None:
        return None
    data = None
    if recipe.task_data is not None:
        data = Path(recipe.data_root or ".") / recipe.task_data
    return load_task(recipe.task, data=data, **recipe.task_options)


def run_recipe(
    recipe: Recipe,
    training: dict[str, Any],
    output: Path,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> dict[str, Any]:
    """Train as a recipe says; `output` gets checkpoints/, model/ and results.json.

    Args:
        recipe: see `load_recipe`.
        training: fields of HybridTrainingArguments.
        output: folder of the run.
        resume: go on from its last complete checkpoint.
        callbacks: transformers callbacks.

    Returns:
        The results of the recipe's task, as in results.json; empty without a task.

    Raises:
        ValueError: `output` already holds a trained model, or any part of the recipe is bad.
    """
    if (output / MODEL).exists():
        raise ValueError(f"{output} already holds a trained model; choose another output folder")
    # Everything that can be wrong is loaded and checked before the folder appears.
    task = build_task(recipe)
    table = train_table(recipe)
    model = build_model(recipe, table, training.get("seed", 42))
    args = HybridTrainingArguments(output_dir=str(output / CHECKPOINTS), **training)
    trainer = HybridTrainer(model, args, table, evaluator=task, callbacks=callbacks)
    trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model(str(output / MODEL))
    results: dict[str, Any] = {}
    if task is not None and trainer.is_world_process_zero():
        found = task.evaluate(
            model,
            batch_size=args.per_device_eval_batch_size,
            model_name=output.name,
            kind=args.kind,
            seed=args.seed,
        )
        found.save(output)
        results = found.to_dict()
    if args.save_strategy == "no":
        shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    return results
