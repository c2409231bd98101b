"""Trainings of ours and of sentence-transformers that see the same texts, and clocks of steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from memory import PeakMemory
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from training_corpus import make_table
from transformers import TrainerCallback

from hybrid_fast.data import HybridBatchSampler
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

TEMPERATURE = 0.05
FEW_WORDS, TEXTS = "few words", "texts"  # batches of a training, by name


class Clock(TrainerCallback):
    """Seconds of each step but the first, from the end of the one before, and the loss of each.

    So the loading of data is part of a step.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args, state, control, **_) -> None:
        self.ends.append(time.perf_counter())

    def on_log(self, args, state, control, logs, **_) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])

    @property
    def seconds(self) -> list[float]:
        return [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


class FindBudgetAgain(TrainerCallback):
    """Lets ours find its token budget in the second step, whose texts are not the first one's."""

    def __init__(self) -> None:
        self.trainer: HybridTrainer | None = None

    def on_step_end(self, args, state, control, **_) -> None:
        assert self.trainer is not None
        if state.global_step == 1:
            self.trainer.cached_step.budget = None


@dataclass(frozen=True)
class Pairs:
    """The texts of both batches, of few words in the one that is not timed and comes first."""

    queries: Mapping[str, list[str]]
    passages: Mapping[str, list[str]]

    @classmethod
    def of(cls, queries: list[str], passages: list[str]) -> Pairs:
        few, more = ([f"w{row} w{row + shift}" for row in range(len(queries))] for shift in (1, 2))
        return cls({FEW_WORDS: few, TEXTS: queries}, {FEW_WORDS: more, TEXTS: passages})

    @property
    def size(self) -> int:
        return len(self.queries[TEXTS])

    def first(self, size: int) -> Pairs:
        """Return the first pairs of both batches."""
        queries, passages = (
            {name: texts[:size] for name, texts in batches.items()}
            for batches in (self.queries, self.passages)
        )
        return Pairs(queries, passages)


@dataclass(frozen=True)
class Run:
    """What a training showed: seconds and loss of the timed step, and its highest memory."""

    seconds: float
    losses: list[float]
    extra_mib: float


def train_ours(
    folder: Path, pairs: Pairs, encoder: BiEncoder, details: dict[str, Any], **arguments: Any
) -> Run:
    """Train; languages tell the two batches apart, and the seed is one that takes them in order."""
    languages = [language for language in ("de", "en") for _ in range(pairs.size)]
    texts = (list(chain(*batches.values())) for batches in (pairs.queries, pairs.passages))
    table = make_table(*texts, languages)

    def begins_with_few_words(seed: int) -> bool:
        plan = HybridBatchSampler(table, batch_size=pairs.size, kind="mono", seed=seed)
        return plan.batch(0).query_rows.max() < pairs.size <= plan.batch(1).query_rows.min()

    args = HybridTrainingArguments(
        kind="mono",
        temperature=TEMPERATURE,
        token_store=str(folder / "tokens"),
        data_seed=next(seed for seed in count() if begins_with_few_words(seed)),
        **options(folder, pairs.size, 2, learning_rate=1e-5),
        **arguments,
    )
    clock, again = Clock(), FindBudgetAgain()
    trainer = again.trainer = HybridTrainer(encoder, args, table, callbacks=[clock, again])
    run = _train(trainer, clock)
    details |= {
        "padding_share": trainer.state.log_history[1]["padding_share"],
        "seconds_by_part_of_both_steps": dict(trainer.timer.seconds),
    }
    return run


def train_theirs(
    folder: Path,
    pairs: Pairs,
    model: SentenceTransformer,
    cached: Mapping[str, Any] | None,
    **arguments: Any,
) -> Run:
    """Train with the cached loss and its settings, or with the plain loss."""
    scale = 1 / TEMPERATURE
    if cached is None:
        loss = MultipleNegativesRankingLoss(model, scale=scale)
    else:
        loss = CachedMultipleNegativesRankingLoss(model, scale=scale, **cached)
    clock = Clock()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            multi_dataset_batch_sampler="round_robin",
            **options(folder, pairs.size, 2, learning_rate=1e-5),
            **arguments,
        ),
        train_dataset={
            name: Dataset.from_dict({"query": queries, "passage": pairs.passages[name]})
            for name, queries in pairs.queries.items()
        },
        loss=loss,
        callbacks=[clock],
    )
    return _train(trainer, clock)


def _train(trainer: Any, clock: Clock) -> Run:
    with PeakMemory() as memory:
        trainer.train()
    assert torch.isfinite(torch.tensor(clock.losses)).all()
    return Run(clock.median_s, clock.losses, memory.extra_mib)


def options(folder: Path, batch_size: int, num_steps: int, **more: Any) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch_size,
        "max_steps": num_steps,
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    } | more
