"""Training batches by step: a data set whose items are whole steps, and its loader.

Skipping to the middle of an epoch skips integers only, so a resumed run fetches no batch twice.
Texts come tokenised from the token stores of both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback, TrainerState

from hybrid_fast.data import (
    AlignedTable,
    HybridBatchSampler,
    Tokens,
    TokenStore,
    open_token_store,
)
from hybrid_fast.data import Batch as Examples
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.dropout_rates import has_dropout
from hybrid_fast.models.texts import SIDES
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.collectives import first_on_each_machine
from hybrid_fast.training.known_answers import KnownAnswers
from hybrid_fast.training.token_report import report_tokens

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """The local batch of a step: M texts, where a repeated text may stand once."""

    step: int
    ids: Tensor  # token ids of all texts, concatenated
    offsets: Tensor  # int64 (M + 1,), where each text begins in `ids`
    queries: Tensor  # int64 (B,), positions among the M texts
    passages: Tensor  # int64 (N,), the same: B positives, then all hard negatives
    passage_ids: Tensor | None  # int64 (N,), equal for equal texts; None without hard negatives
    # bool (B, columns of the loss), answers that are no negatives; None if there are none on any
    # rank
    answers: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """Number of tokens of each text, int64 (M,)."""
        return self.offsets.diff()


class StepDataset(Dataset[Batch]):
    """Item `step` is the local batch of that step.

    Args:
        sampler: the plan of this process.
        queries: tokens of the queries of its table.
        passages: tokens of the passages and the hard negatives.
        negatives_from: row that an example's hard negatives come from, "passage" or "query".
        repeats_once: whether a text that occurs several times in a batch is embedded once.
        known_answers: of the table.
        shares_negatives: whether the columns of the loss are the passages of all ranks.
    """

    def __init__(
        self,
        sampler: HybridBatchSampler,
        queries: TokenStore,
        passages: TokenStore,
        negatives_from: str,
        *,
        repeats_once: bool,
        known_answers: KnownAnswers | None = None,
        shares_negatives: bool = False,
    ) -> None:
        self.sampler = sampler
        self.queries = queries
        self.passages = passages
        self.negatives_from = negatives_from
        self.repeats_once = repeats_once
        self.known_answers = known_answers
        self.shares_negatives = shares_negatives
        self.has_negatives = passages.has_negatives

    def __getitem__(self, step: int) -> Batch:
        plan = self.sampler.batch(step)
        queries = self.queries.text_numbers(plan.query_rows)
        passages = self._columns(plan.query_rows, plan.passage_rows)
        query_texts, query_positions = self._texts(queries)
        passage_texts, passage_positions = self._texts(passages)
        tokens = Tokens.concatenate(
            [self.queries.tokens.take(query_texts), self.passages.tokens.take(passage_texts)]
        )
        return Batch(
            step,
            torch.from_numpy(tokens.ids),
            torch.from_numpy(tokens.offsets),
            torch.from_numpy(query_positions),
            torch.from_numpy(passage_positions + len(query_texts)),
            torch.from_numpy(passages) if self.has_negatives else None,
            self._answers(plan),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def _columns(self, query_rows: np.ndarray, passage_rows: np.ndarray) -> np.ndarray:
        """Return the numbers of the passages, then of the hard negatives, of a rank's batch."""
        passages = self.passages.text_numbers(passage_rows)
        if not self.has_negatives:
            return passages
        rows = passage_rows if self.negatives_from == "passage" else query_rows
        return np.concatenate([passages, self.passages.negative_numbers(rows)])

    def _answers(self, plan: Examples) -> Tensor | None:
        """Return which columns of the loss answer which queries of this rank's plan."""
        if self.known_answers is None:
            return None
        sampler = self.sampler
        num_ranks = sampler.world_size if self.shares_negatives else 1
        first, share = sampler.rank * len(plan) if self.shares_negatives else 0, len(plan)
        if self.shares_negatives:
            plan = sampler.global_batch(plan.step)
        parts = np.split(np.stack([plan.query_rows, plan.passage_rows]), num_ranks, axis=1)
        columns = [self._columns(*part) for part in parts]
        firsts = np.cumsum([0, *map(len, columns[:-1])])
        positives = np.repeat(firsts, share) + np.tile(np.arange(share), num_ranks)
        found = self.known_answers.among(np.concatenate(columns), plan.query_rows, positives)
        if not found.size:  # on no rank: all of them must agree
            return None
        query, column = found[:, (found[0] >= first) & (found[0] < first + share)]
        answers = torch.zeros(share, sum(map(len, columns)), dtype=torch.bool)
        answers[torch.from_numpy(query - first), torch.from_numpy(column)] = True
        return answers

    def _texts(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the texts to embed, and the position among them of each."""
        if self.repeats_once:
            return np.unique(numbers, return_inverse=True)
        return numbers, np.arange(len(numbers))


class EpochSteps:
    """Yields `[step]` for the steps of one epoch; the batch sampler of the loader."""

    def __init__(self, sampler: HybridBatchSampler) -> None:
        self.sampler = sampler
        self.batch_size = 1

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        first = self.sampler.epoch * len(self.sampler)
        return ([step] for step in range(first, first + len(self.sampler)))


class StepLoader(DataLoader[Batch]):
    """A data loader over the steps of an epoch."""

    def __init__(self, dataset: StepDataset, **options: Any) -> None:
        steps = EpochSteps(dataset.sampler)
        super().__init__(dataset, batch_sampler=steps, collate_fn=_only, **options)


class SetEpoch(TrainerCallback):
    """Tells the plan which epoch begins.

    The Trainer tells its loader only. When it resumes in the middle of an epoch that is a wrapper
    of accelerate that skips batches, which not every version of transformers looks through.
    """

    def __init__(self, sampler: HybridBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Set the epoch, which is fractional when a run is resumed."""
        self.sampler.set_epoch(int(state.epoch))


def _only(batches: list[Batch]) -> Batch:
    return batches[0]


def make_sampler(args: HybridTrainingArguments, table: AlignedTable) -> HybridBatchSampler:
    """Return the sampler of this process.

    Raises:
        ValueError: options that the batch plan cannot satisfy.
    """
    return HybridBatchSampler(
        table,
        batch_size=args.per_device_train_batch_size * args.world_size,
        kind=args.kind,
        alpha=args.alpha,
        language_sampling=args.language_sampling,
        pair_weights=args.pair_weights,
        source_weights=args.source_weights,
        pairs=args.pairs,
        seed=args.seed if args.data_seed is None else args.data_seed,
        rank=args.process_index,
        world_size=args.world_size,
    )


def make_loader(args: HybridTrainingArguments, steps: StepDataset) -> StepLoader:
    """Return the loader that the arguments describe."""
    return StepLoader(
        steps,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory and torch.cuda.is_available(),
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
        # transformers has it since 5.18.
        multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None),
    )


def make_steps(
    args: HybridTrainingArguments,
    sampler: HybridBatchSampler,
    table: AlignedTable,
    model: BiEncoder,
) -> StepDataset:
    """Tokenise the table, unless an earlier run has, and return its batches by step."""
    with first_on_each_machine(args.local_process_index):
        queries, passages = (
            open_token_store(
                table,
                side,
                partial(model.token_ids, side=side, warn=False),  # `report_tokens` does
                model.tokenizer_key(side),
                args.token_store,
            )
            for side in SIDES
        )
    for side, store in zip(SIDES, (queries, passages), strict=True):
        report_tokens(table, store, side, model)
    repeats_once = args.embed_repeats_once
    if repeats_once is None:
        repeats_once = not has_dropout(model)
    return StepDataset(
        sampler,
        queries,
        passages,
        args.negatives_from,
        repeats_once=repeats_once,
        known_answers=KnownAnswers.of_table(table, passages),
        shares_negatives=args.shares_negatives,
    )
