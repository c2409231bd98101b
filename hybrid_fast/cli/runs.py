"""Running recipes: load the parts, train, evaluate, and write the output folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from rich.console import Console
from transformers import PrinterCallback, ProgressCallback

from hybrid_fast.cli.checks import (
    CHECKPOINTS,
    MODEL,
    check_evaluation,
    check_output,
    make_arguments,
)
from hybrid_fast.cli.folders import without_empty_remains
from hybrid_fast.cli.messages import say
from hybrid_fast.cli.profile import print_profile
from hybrid_fast.cli.progress import TrainingProgress, stage
from hybrid_fast.cli.recipe import Recipe
from hybrid_fast.common.errors import kept
from hybrid_fast.common.locks import sole_use
from hybrid_fast.common.paths import expanded
from hybrid_fast.data import AlignedTable, load_builtin, load_tables
from hybrid_fast.evaluation import load_task
from hybrid_fast.evaluation.on_ranks import evaluate_on_ranks
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.results import Results, RunInfo
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments
from hybrid_fast.training.checkpoints import complete_checkpoints, settings_in
from hybrid_fast.training.collectives import all_ranks, ended_by_any
from hybrid_fast.training.divergence import check_finite
from hybrid_fast.training.resumption import check_trained
from hybrid_fast.training.termination import leave_process_group

# Options of a model that its folder does not hold.
_TRUST = ("trust_remote_code",)


@dataclass
class Parts:
    """The loaded parts of a recipe."""

    table: AlignedTable
    model: BiEncoder
    task: RetrievalTask | None


def run_recipe(
    recipe: Recipe,
    training: dict[str, Any],
    output: Path,
    resume: bool = False,
    model_name: str | None = None,
) -> Results | None:
    """Load the parts of a recipe, train and evaluate; see `run_parts`.

    Everything that needs nothing loaded is checked first. A run that is resumed and whose model is
    trained is evaluated only.

    Raises:
        OSError: a missing file or folder, or an output folder that cannot be written or is in use.
        ValueError: an invalid part or field, or nothing to resume, or a model that was trained
            otherwise.
        PartlyDoneError: see `run_parts`.
    """
    args = make_arguments(training, output)
    check_evaluation(args, recipe.task)
    with ExitStack() as stack:
        with ended_by_any():
            if args.process_index == 0:
                stack.enter_context(sole_use(output))
            check_output(output, resume)
            is_trained = (output / MODEL).exists()
            if is_trained:
                _check_trained(args, output)
        if is_trained:
            results = _evaluate_trained(recipe, args, output, model_name)
        else:
            with ended_by_any():
                parts = load_parts(recipe, args.seed)
            results = run_parts(parts, args, output, TrainingProgress(), resume, model_name)
        leave_process_group()
        return results


def _check_trained(args: HybridTrainingArguments, output: Path) -> None:
    for folder in complete_checkpoints(str(output / CHECKPOINTS))[-1:]:
        saved = settings_in(folder)
        if saved is not None:
            check_trained(saved, args, output / MODEL)


def load_parts(recipe: Recipe, seed: int) -> Parts:
    """Load the items, the task and the model of a recipe.

    Raises:
        ValueError: a part that cannot be loaded; the message names file, line and field.
    """
    stage("reading texts")
    task = _load_task(recipe)
    table = load_items(recipe)
    return Parts(table, _build_model(recipe, table, seed), task)


def run_parts(
    parts: Parts,
    args: HybridTrainingArguments,
    output: Path,
    progress: TrainingProgress,
    resume: bool = False,
    model_name: str | None = None,
) -> Results | None:
    """Train, evaluate, and write checkpoints/ (if any), model/ and results.json to `output`.

    Args:
        parts: see `load_parts`; the model is trained in place.
        args: see `make_arguments`.
        output: folder of the run; not created if the run fails before it saves anything.
        progress: shows the progress of training.
        resume: continue from the last complete checkpoint.
        model_name: name of the model in the results; default the name of `output`.

    Returns:
        The results of the task; None without a task, and in every process but the first.

    Raises:
        ValueError: options that the plan or the loss cannot satisfy, or training diverged.
        PartlyDoneError: the model is saved, and something failed later.
    """
    # The first process only: another could remove a folder that this one is about to fill.
    first = args.process_index == 0
    with without_empty_remains((output / CHECKPOINTS).resolve()) if first else nullcontext():
        try:
            trainer = HybridTrainer(parts.model, args, parts.table, evaluator=parts.task)
        except RuntimeError as error:  # a logger of report_to is not installed
            raise ValueError(str(error)) from error
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(progress)
        with progress:
            trained = trainer.train(resume_from_checkpoint=resume or None)
        check_finite(trainer.encoder, trainer.in_effect())
        trainer.save_model(str(output / MODEL), _internal_call=True)  # pushed at the end
    with _model_is_saved(output):
        if args.profile:  # all processes add up their rates
            seconds = trained.metrics["train_runtime"]
            rates = trainer.throughput.of_run(seconds, args.device)
            if first:
                print_profile(trainer.timer, seconds, rates, Console())
        results = _evaluate(parts.task, parts.model, args, output, model_name)
        if args.push_to_hub:
            trainer.push_to_hub()
    return results


def _evaluate_trained(
    recipe: Recipe, args: HybridTrainingArguments, output: Path, model_name: str | None
) -> Results | None:
    """Evaluate the model that an earlier start of the run has trained."""
    trusted = {name: recipe.model_options[name] for name in _TRUST if name in recipe.model_options}
    with _model_is_saved(output):
        with ended_by_any():
            stage("loading the trained model")
            model = BiEncoder.from_pretrained(output / MODEL, **trusted).to(args.device)
            task = _load_task(recipe)
        results = _evaluate(task, model, args, output, model_name)
    if args.push_to_hub and args.process_index == 0:
        say(
            "The model was trained before, and is not pushed; push it with: "
            f"hf upload {args.hub_model_id} {quote(str(output / MODEL))}"
        )
    return results


def _evaluate(
    task: RetrievalTask | None,
    model: BiEncoder,
    args: HybridTrainingArguments,
    output: Path,
    model_name: str | None,
) -> Results | None:
    if task is None:
        return None
    if args.process_index == 0:
        stage("evaluating")
    info = RunInfo(model_name or output.name, args.kind, args.seed)
    results = evaluate_on_ranks(task, partial(task.evaluate, model, info=info), all_ranks())
    if results is not None:
        results.save(output)
    return results


def _model_is_saved(output: Path) -> AbstractContextManager[None]:
    return kept(f"the trained model is in {output / MODEL}")


def _load_task(recipe: Recipe) -> RetrievalTask | None:
    if recipe.task is None:
        return None
    data = None
    if recipe.task_data is not None:
        data = Path(recipe.data_root or ".") / expanded(recipe.task_data)
    return load_task(recipe.task, data=data, **recipe.task_options)


def load_items(recipe: Recipe) -> AlignedTable:
    """Load the training items of a recipe.

    Raises:
        ValueError: a source that cannot be read; the message names file, line and field.
    """
    if recipe.train == "builtin":
        return load_builtin("train")
    if isinstance(recipe.train, str):
        raise ValueError(f"train is {recipe.train!r}; it must be 'builtin' or a list of sources")
    return load_tables(recipe.train, root=recipe.data_root)


def _build_model(recipe: Recipe, table: AlignedTable, seed: int) -> BiEncoder:
    if recipe.model != "static":
        stage("loading the model")
        return BiEncoder.from_pretrained(recipe.model, **recipe.model_options)
    stage("training a tokenizer")
    texts = [
        *table.queries(np.flatnonzero(table.has_query)),
        *table.passages(np.flatnonzero(table.has_passage)),
    ]
    return BiEncoder.static(texts, **{"seed": seed, **recipe.model_options})
