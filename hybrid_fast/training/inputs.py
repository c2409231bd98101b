"""What HybridTrainer is given: types are checked, and a wrong one is told what to give instead."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from typing import NoReturn

from torch import nn
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data import AlignedTable
from hybrid_fast.data.table_makers import loading_call
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.results.metrics import SETTINGS, score_name
from hybrid_fast.training.argument_checks import recomputes_activations
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.layer_rates import has_layer_rates

# Arguments of transformers' and sentence-transformers' trainers that have no meaning here.
OTHER_ARGUMENTS = {
    "train_dataset": "give train_table=load_table(...)",
    "eval_dataset": "give evaluator=load_task(...)",
    "compute_metrics": "the evaluator computes the metrics; give evaluator=load_task(...)",
    "preprocess_logits_for_metrics": "the evaluator computes the metrics; leave it out",
    "data_collator": "the batch plan makes the batches; leave it out",
    "processing_class": "the BiEncoder has its tokenizer; leave it out",
    "tokenizer": "the BiEncoder has its tokenizer; leave it out",
    "compute_loss_func": "set temperature, symmetric, margin and negatives in "
    "HybridTrainingArguments",
    "loss": "set temperature, symmetric, margin and negatives in HybridTrainingArguments",
    "model_init": "make a model for each run; hybrid-fast sweep compares values of any field",
}


def check_argument_names(names: Iterable[str]) -> None:
    """Raise a TypeError for an argument of other trainers, with what to give instead."""
    for name in names:
        if name in OTHER_ARGUMENTS:
            raise TypeError(f"HybridTrainer takes no {name}: {OTHER_ARGUMENTS[name]}")


def check_types(
    model: object, args: object, table: object, callbacks: object, optimizers: object
) -> None:
    """Raise a TypeError, which says what to give, for an argument of the wrong type."""
    if not isinstance(model, BiEncoder):
        _refuse("model", model, "a BiEncoder", _instead_of_model(model))
    if not isinstance(args, HybridTrainingArguments):
        _refuse("args", args, "HybridTrainingArguments", _instead_of_arguments(args))
    if not isinstance(table, AlignedTable):
        _refuse("train_table", table, "an AlignedTable", _instead_of_table(table))
    _check_callbacks(callbacks)
    if not isinstance(optimizers, tuple) or len(optimizers) != 2:
        _refuse("optimizers", optimizers, "a pair", "(optimizer, schedule), where either is None")


def check_evaluator(evaluator: object) -> None:
    """Raise a TypeError unless an evaluator is a task, or has an `evaluate` like a task's."""
    if isinstance(evaluator, RetrievalTask):
        return
    method = None if isinstance(evaluator, type) else getattr(evaluator, "evaluate", None)
    if not callable(method) or "batch_size" not in inspect.signature(method).parameters:
        _refuse("evaluator", evaluator, "a task", _instead_of_task(evaluator))


def check_evaluation(args: HybridTrainingArguments, evaluator: object) -> None:
    """Check that training can evaluate, and choose its best model, as asked.

    Raises:
        ValueError: there is no task, or it does not report the score that is to choose.
    """
    evaluates = args.eval_strategy != IntervalStrategy.NO
    if evaluator is None and (evaluates or args.eval_on_start):
        asked = "eval_on_start is True" if not evaluates else f"eval_strategy is {_name(args)!r}"
        raise ValueError(
            f"{asked}, but there is no task to evaluate; give HybridTrainer "
            "evaluator=load_task(...), or leave it out"
        )
    if isinstance(evaluator, RetrievalTask) and evaluates and args.metric_for_best_model:
        settings = SETTINGS if len(evaluator.languages) > 1 else ("mono", "multi")
        names = [score_name(where, metric) for where in settings for metric in evaluator.metrics]
        name = args.metric_for_best_model.removeprefix("eval_")
        check_choice("metric_for_best_model", name, [*names, "rank_distance"])


def check_reported(args: HybridTrainingArguments, scores: Iterable[str]) -> None:
    """Raise a ValueError unless an evaluation reports the score that chooses the best model."""
    if args.metric_for_best_model:
        name = args.metric_for_best_model.removeprefix("eval_")
        check_choice("metric_for_best_model", name, scores)


def check_optimizers(args: HybridTrainingArguments, optimizer: object) -> None:
    """Raise a ValueError if an optimiser is given whose learning rates the arguments name."""
    if optimizer is not None and has_layer_rates(args):
        name = "lr_multipliers" if args.layer_lr_decay is None else "layer_lr_decay"
        raise ValueError(
            f"{name} is {getattr(args, name)!r}, and HybridTrainer is given an optimizer, whose "
            "groups have rates of their own; leave out one of them"
        )


def _name(args: HybridTrainingArguments) -> str:
    return str(getattr(args.eval_strategy, "value", args.eval_strategy))


def check_activations(model: BiEncoder, args: HybridTrainingArguments) -> None:
    """Raise a ValueError if activations are to be recomputed and there are none."""
    if recomputes_activations(args) and not isinstance(model.backbone, TransformerBackbone):
        raise ValueError(
            "only transformer encoders can recompute activations; leave out "
            "gradient_checkpointing and activation_checkpointing"
        )


def _refuse(name: str, given: object, needed: str, instead: str) -> NoReturn:
    kind = given.__name__ if isinstance(given, type) else type(given).__name__
    class_of = "the class " if isinstance(given, type) else ""
    shown = f"{given!r}" if isinstance(given, str | None) else f"{class_of}{kind}"
    raise TypeError(f"{name} is {shown}; {needed} is needed: {instead}")


def _instead_of_model(model: object) -> str:
    if isinstance(model, str | os.PathLike):
        return f"BiEncoder.from_pretrained({str(model)!r})"
    if isinstance(model, nn.Module):
        return (
            "save it in a folder with its tokenizer (save_pretrained) and give "
            "BiEncoder.from_pretrained(folder)"
        )
    return "BiEncoder.from_pretrained(folder_or_hub_name), or BiEncoder.static(texts)"


def _instead_of_arguments(args: object) -> str:
    if isinstance(args, dict):
        return "HybridTrainingArguments(**args)"
    if isinstance(args, TrainingArguments):
        return "it takes the same fields, such as HybridTrainingArguments(output_dir, max_steps=10)"
    return "HybridTrainingArguments(output_dir, batch_size=...)"


def _instead_of_table(table: object) -> str:
    is_list = isinstance(table, list | tuple) and len(table) > 0
    if is_list and all(isinstance(part, AlignedTable) for part in table):  # type: ignore[attr-defined]
        return "AlignedTable.concatenate(tables)"
    return f"{loading_call(table)}, with columns={{'query': 'question', ...}} and lang= as needed"


def _instead_of_task(evaluator: object) -> str:
    if isinstance(evaluator, str):
        return f"load_task({evaluator!r}, data=...)"
    if isinstance(evaluator, list | tuple | dict):
        return "give one of them, and evaluate others with trainer.evaluate(task)"
    if isinstance(evaluator, AlignedTable):
        return "load_task(name, data=...), or a RetrievalTask of its queries and candidates"
    return "load_task(name, data=...), or an object with evaluate(model, batch_size=...)"


def _check_callbacks(callbacks: object) -> None:
    if callbacks is None:
        return
    if not isinstance(callbacks, list | tuple):
        _refuse("callbacks", callbacks, "a list", "callbacks=[callback]")
    for callback in callbacks:
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, TrainerCallback):
            _refuse("a callback", callback, "a transformers.TrainerCallback", "derive one from it")
