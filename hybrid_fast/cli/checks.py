"""Checks that need nothing loaded: output folders and training fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.trainer_utils import IntervalStrategy

from hybrid_fast.common.choices import check_choice
from hybrid_fast.evaluation.tasks import check_task
from hybrid_fast.results.metrics import METRICS, SETTINGS, score_name
from hybrid_fast.results.results import FILE_NAME as RESULTS
from hybrid_fast.training import HybridTrainingArguments
from hybrid_fast.training.checkpoints import last_checkpoint

CHECKPOINTS = "checkpoints"
MODEL = "model"
LOGGED_METRICS = (
    *(score_name(setting, metric) for setting in SETTINGS for metric in METRICS),
    "rank_distance",
)


def check_output(output: Path, resume: bool) -> None:
    """Check that a run can be started, or resumed, in `output`.

    A run whose model is trained, but not evaluated, may be resumed.

    Raises:
        ValueError: it holds a finished run, or checkpoints without `resume`, or none with it.
    """
    if (output / MODEL).exists():
        if (output / RESULTS).exists() or not resume:
            raise ValueError(f"{output} holds a trained model; choose another folder for --out")
    elif resume:
        last_checkpoint(str(output / CHECKPOINTS))
    elif (output / CHECKPOINTS).exists():
        raise ValueError(
            f"{output} holds checkpoints of an unfinished run; continue it with --resume, or "
            "choose another folder for --out"
        )


def make_arguments(training: dict[str, Any], output: Path) -> HybridTrainingArguments:
    """Return the training arguments of a run.

    Raises:
        ValueError: an invalid field, or fields that contradict each other.
    """
    if {"batch_size", "per_device_train_batch_size"} <= training.keys():
        raise ValueError(
            "per_device_train_batch_size and batch_size are both given; leave out one of them"
        )
    args = HybridTrainingArguments(output_dir=str(output / CHECKPOINTS), **training)
    if args.push_to_hub and args.hub_model_id is None:
        raise ValueError("push_to_hub needs hub_model_id, such as organisation/name")
    return args


def check_evaluation(args: HybridTrainingArguments, task: str | None) -> None:
    """Check that training can evaluate and select its best model as asked.

    Raises:
        ValueError: an unknown task, an evaluation without a task, or a best model by an unknown
            metric.
    """
    if task is not None:
        check_task(task)
    evaluates = args.eval_strategy != IntervalStrategy.NO
    if evaluates and task is None:
        raise ValueError(
            f"eval_strategy is {args.eval_strategy.value!r}, but the recipe names no task; "
            "add one, such as task: builtin"
        )
    if args.metric_for_best_model is not None:
        metric = args.metric_for_best_model.removeprefix("eval_")
        check_choice("metric_for_best_model", metric, LOGGED_METRICS)
