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
import numpy.typing as npt
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
from hybrid_fast.models.texts import SIDES, Integers, TokenIds
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.collectives import first_on_each_machine
from hybrid_fast.training.known_answers import KnownAnswers
from hybrid_fast.training.token_report import report_tokens

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """The local batch of a step: M texts, where a repeated text may stand once.

    What micro-batches are cut from stays with the host, in arrays; what goes to the device as it is
    stands in tensors, which loaders pin.

    Attributes:
        step: its number.
        ids: token ids of all texts, concatenated, uint16 or int32.
        offsets: where each text begins in `ids`, int64 (M + 1,).
        num_query_texts: how many of the texts are of queries; they come first.
        queries: positions among the M texts, int64 (B,).
        passages: the same, int64 (N,): B positives, then all hard negatives.
        passage_ids: equal for equal texts, int64 (N,); None without hard negatives.
        answers: passages that are no negatives, bool (B, columns of the loss); None if there are
            none on any rank.
        owners: position of the query whose hard negative each passage is, -1 for positives, int64
            (N,); None where it makes no difference to any batch of the table.
        in_batch: see `AlignedTable.in_batch`, of the queries, bool (B,); None if it is true of the
            whole table.
    """

    step: int
    ids: TokenIds
    offsets: Integers
    num_query_texts: int
    queries: Tensor
    passages: Tensor
    passage_ids: Tensor | None = None
    answers: Tensor | None = None
    owners: Tensor | None = None
    in_batch: Tensor | None = None

    @property
    def lengths(self) -> Integers:
        """Number of tokens of each text, int64 (M,)."""
        return np.diff(self.offsets)

    @property
    def own_negatives(self) -> Tensor | None:
        """Number of hard negatives of each query whose `in_batch` is false, int64.

        None where that is true of the whole table.
        """
        if self.in_batch is None:
            return None
        counts = torch.zeros(len(self.queries), dtype=torch.int64)
        if self.owners is not None:
            counts = self.owners[len(self.queries) :].bincount(minlength=len(self.queries))
        return counts[~self.in_batch]


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
        in_batch: see `AlignedTable.in_batch`; None if it is true of all rows.
        has_margin: whether the loss leaves out passages by a margin, which spares a query's own
            hard negatives.
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
        in_batch: npt.NDArray[np.bool_] | None = None,
        has_margin: bool = False,
    ) -> None:
        self.sampler = sampler
        self.queries = queries
        self.passages = passages
        self.negatives_from = negatives_from
        self.repeats_once = repeats_once
        self.known_answers = known_answers
        self.shares_negatives = shares_negatives
        self.in_batch = in_batch
        self.has_negatives = passages.has_negatives
        # Of the whole table: the loss expects all ranks to give the same.
        self.gives_owners = self.has_negatives and (has_margin or in_batch is not None)

    def __getitem__(self, step: int) -> Batch:
        plan = self.sampler.batch(step)
        rows = plan.query_rows, plan.passage_rows
        queries = self.queries.text_numbers(plan.query_rows)
        passages = self._columns(*rows)
        query_texts, query_positions = self._texts(queries)
        passage_texts, passage_positions = self._texts(passages)
        tokens = Tokens.concatenate(
            [self.queries.tokens.take(query_texts), self.passages.tokens.take(passage_texts)]
        )
        return Batch(
            step,
            tokens.ids,
            tokens.offsets,
            num_query_texts=len(query_texts),
            queries=torch.from_numpy(query_positions),
            passages=torch.from_numpy(passage_positions + len(query_texts)),
            passage_ids=torch.from_numpy(passages) if self.has_negatives else None,
            answers=self._answers(plan),
            owners=torch.from_numpy(self._owners(*rows)) if self.gives_owners else None,
            in_batch=self._in_batch(plan.query_rows),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def _giving(self, query_rows: Integers, passage_rows: Integers) -> Integers:
        """Return the rows whose hard negatives the examples have."""
        return passage_rows if self.negatives_from == "passage" else query_rows

    def _columns(self, query_rows: Integers, passage_rows: Integers) -> Integers:
        """Return the numbers of the passages, then of the hard negatives, of a rank's batch."""
        passages = self.passages.text_numbers(passage_rows)
        if not self.has_negatives:
            return passages
        rows = self._giving(query_rows, passage_rows)
        return np.concatenate([passages, self.passages.negative_numbers(rows)])

    def _owners(self, query_rows: Integers, passage_rows: Integers) -> Integers:
        """Return which example each of `_columns` is a hard negative of, -1 for the passages."""
        counts = self.passages.negative_counts(self._giving(query_rows, passage_rows))
        examples = np.arange(len(query_rows))
        return np.concatenate([np.full_like(examples, -1), examples.repeat(counts)])

    def _in_batch(self, query_rows: Integers) -> Tensor | None:
        return None if self.in_batch is None else torch.from_numpy(self.in_batch[query_rows])

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
        answers = np.zeros((share, sum(map(len, columns))), np.bool_)
        answers[query - first, column] = True
        return torch.from_numpy(answers)

    def _texts(self, numbers: Integers) -> tuple[Integers, Integers]:
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
        in_batch=None if table.in_batch.all() else table.in_batch,
        has_margin=args.margin is not None,
    )
