"""Training and evaluation of readers, with progress messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hybrid_fast.cli.progress import TrainingProgress, stage
from hybrid_fast.common.choices import check_choice
from hybrid_fast.models.evaluable import load_evaluable
from hybrid_fast.qa import (
    Reader,
    ReaderTraining,
    ReadingResults,
    evaluate_reader,
    load_questions,
    train_reader,
)
from hybrid_fast.qa.answers import RULES, Rules
from hybrid_fast.training.termination import leave_process_group


def run_training(
    encoder: str,
    paths: Sequence[str],
    sources: Mapping[str, Any],
    out: Path,
    options: ReaderTraining,
) -> None:
    """Load the questions, train a reader and save it.

    Args:
        encoder: folder or hub name.
        paths: files of questions.
        sources: keyword arguments of `load_questions`.
        out: new folder of the reader.
        options: training options.

    Raises:
        OSError, ValueError: as `load_questions` and `train_reader`.
    """
    stage("reading questions")
    data = load_questions(paths, **sources)
    stage("making windows")
    progress = TrainingProgress("train reader")
    with progress:
        train_reader(encoder, data, out, options, callbacks=[progress])
    leave_process_group()


def run_evaluation(
    reader: str,
    paths: Sequence[str],
    sources: Mapping[str, Any],
    sizes: Mapping[str, Any],
    retriever: str | None,
    retriever_options: Mapping[str, Any],
    rules: str,
    **options: Any,
) -> ReadingResults:
    """Load the questions and the models, and evaluate.

    Args:
        reader: folder or hub name.
        paths: files of questions.
        sources: keyword arguments of `load_questions`.
        sizes: keyword arguments of `Reader.from_pretrained`.
        retriever: folder or hub name; None reads gold passages only.
        retriever_options: keyword arguments of `load_evaluable`.
        rules: normalisation of exact match and F1, "squad" or "mlqa".
        **options: further keyword arguments of `evaluate_reader`.

    Raises:
        OSError, ValueError: as `load_questions`, `Reader.from_pretrained` and `evaluate_reader`.
    """
    check_choice("rules", rules, RULES)
    stage("reading questions")
    data = load_questions(paths, **sources)
    stage("loading the models")
    loaded = Reader.from_pretrained(reader, **sizes)
    encoder = None
    if retriever is not None:
        encoder = load_evaluable(retriever, **retriever_options)
    return evaluate_reader(
        loaded,
        data,
        retriever=encoder,
        retriever_name=retriever,
        rules=cast(Rules, rules),
        **options,
    )
