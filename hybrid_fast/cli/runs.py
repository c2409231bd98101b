"""Running recipes: build the model, train, evaluate, and write the folder of a run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback
from transformers.trainer_utils import SaveStrategy

from hybrid_fast.cli.recipe import Recipe
from hybrid_fast.data import AlignedTable, load_builtin, load_tables
from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

CHECKPOINTS = "checkpoints"
MODEL = "model"


@dataclass
class Parts:
    """What a recipe names, loaded and checked."""

    table: AlignedTable
    model: BiEncoder
    task: RetrievalTask | None


def load_parts(recipe: Recipe, seed: int) -> Parts:
    """Load the items, the task and the model of a recipe.

    Raises:
        ValueError: a part that cannot be had; the message names file, line and field.
    """
    task = _load_task(recipe)
    table = _load_table(recipe)
    return Parts(table, _build_model(recipe, table, seed), task)


def run_parts(
    parts: Parts,
    training: dict[str, Any],
    output: Path,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
) -> dict[str, Any]:
    """Train and evaluate; `output` gets checkpoints/ (if any are kept), model/ and results.json.

    Args:
        parts: see `load_parts`; the model is trained in place.
        training: fields of HybridTrainingArguments.
        output: folder of the run.
        resume: go on from its last complete checkpoint.
        callbacks: transformers callbacks.

    Returns:
        The results of the task, as in results.json; empty without a task.

    Raises:
        ValueError: `output` already holds a trained model, or bad training fields.
    """
    if (output / MODEL).exists():
        raise ValueError(f"{output} already holds a trained model; choose another output folder")
    args = HybridTrainingArguments(output_dir=str(output / CHECKPOINTS), **training)
    trainer = HybridTrainer(
        parts.model, args, parts.table, evaluator=parts.task, callbacks=callbacks
    )
    trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model(str(output / MODEL))
    results: dict[str, Any] = {}
    if parts.task is not None and trainer.is_world_process_zero():
        found = parts.task.evaluate(
            parts.model, model_name=output.name, kind=args.kind, seed=args.seed
        )
        found.save(output)
        results = found.to_dict()
    if args.save_strategy == SaveStrategy.NO:
        shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    return results


def _load_task(recipe: Recipe) -> RetrievalTask | None:
    if recipe.task is None:
        return None
    data = None
    if recipe.task_data is not None:
        data = Path(recipe.data_root or ".") / recipe.task_data
    return load_task(recipe.task, data=data, **recipe.task_options)


def _load_table(recipe: Recipe) -> AlignedTable:
    if recipe.train == "builtin":
        return load_builtin("train")
    if isinstance(recipe.train, str):
        raise ValueError(f"train is {recipe.train!r}; it must be 'builtin' or a list of sources")
    return load_tables(recipe.train, root=recipe.data_root)


def _build_model(recipe: Recipe, table: AlignedTable, seed: int) -> BiEncoder:
    if recipe.model != "static":
        return BiEncoder.from_pretrained(recipe.model, **recipe.model_options)
    texts = [
        *table.queries(np.flatnonzero(table.has_query)),
        *table.passages(np.flatnonzero(table.has_passage)),
    ]
    return BiEncoder.static(texts, **{"seed": seed, **recipe.model_options})
