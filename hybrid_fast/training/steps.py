"""Training batches by step: how they come from a table, and the loader that the Trainer resumes.

The data set's item is a whole step, so skipping to the middle of an epoch skips integers only and
nothing is fetched that was already seen. Texts come from the token stores of both sides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback, TrainerState

from hybrid_fast.data import (
    AlignedTable,
    HybridBatchSampler,
    Tokens,
    TokenStore,
    open_token_store,
)
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.texts import SIDES
from hybrid_fast.training.arguments import HybridTrainingArguments

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """The local batch of a step: M texts, of which a repeated one may be embedded once only."""

    step: int
    ids: Tensor  # token ids of all texts, one after another
    offsets: Tensor  # int64 (M + 1,), where each text begins
    queries: Tensor  # int64 (B,), places among the texts
    passages: Tensor  # int64 (N,), those of the B positives, then of all hard negatives
    passage_ids: Tensor | None  # int64 (N,), if there are hard negatives: equal for equal texts

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, int64 (M,)."""
        return self.offsets.diff()


class StepDataset(Dataset[Batch]):
    """Item `step` is the local batch of that step.

    Args:
        sampler: the plan of this process.
        queries: tokens of the queries of its table.
        passages: tokens of the passages and the hard negatives.
        negatives_from: whose hard negatives an example takes, those of its "passage" or "query"
            row.
        repeats_once: whether a text that occurs several times is among the texts once.
    """

    def __init__(
        self,
        sampler: HybridBatchSampler,
        queries: TokenStore,
        passages: TokenStore,
        negatives_from: str,
        *,
        repeats_once: bool,
    ) -> None:
        self.sampler = sampler
        self.queries = queries
        self.passages = passages
        self.negatives_from = negatives_from
        self.repeats_once = repeats_once
        self.has_negatives = passages.has_negatives

    def __getitem__(self, step: int) -> Batch:
        plan = self.sampler.batch(step)
        queries = self.queries.text_numbers(plan.query_rows)
        passages = self.passages.text_numbers(plan.passage_rows)
        if self.has_negatives:
            rows = plan.passage_rows if self.negatives_from == "passage" else plan.query_rows
            passages = np.concatenate([passages, self.passages.negative_numbers(rows)])
        query_texts, query_places = self._texts(queries)
        passage_texts, passage_places = self._texts(passages)
        tokens = Tokens.concatenate(
            [self.queries.tokens.take(query_texts), self.passages.tokens.take(passage_texts)]
        )
        return Batch(
            step,
            torch.from_numpy(tokens.ids),
            torch.from_numpy(tokens.offsets),
            torch.from_numpy(query_places),
            torch.from_numpy(passage_places + len(query_texts)),
            torch.from_numpy(passages) if self.has_negatives else None,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def _texts(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the texts to embed, and where among them each one is."""
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

    The Trainer itself tells its loader. In the middle of an epoch that is one which skips batches,
    made by accelerate, and not every version of transformers reaches ours through it.
    """

    def __init__(self, sampler: HybridBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Set the epoch, which is a fraction where a run is resumed."""
        self.sampler.set_epoch(int(state.epoch))


def _only(batches: list[Batch]) -> Batch:
    return batches[0]


def make_sampler(args: HybridTrainingArguments, table: AlignedTable) -> HybridBatchSampler:
    """Return the plan of this process.

    Raises:
        ValueError: options that the plan cannot serve.
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


def make_steps(
    args: HybridTrainingArguments,
    sampler: HybridBatchSampler,
    table: AlignedTable,
    model: BiEncoder,
) -> StepDataset:
    """Tokenise the table, if no earlier run has, and return its batches by step."""
    with args.main_process_first(desc="tokenising"):
        queries, passages = (
            open_token_store(
                table,
                side,
                partial(model.token_ids, side=side),
                model.tokenizer_key(side),
                model.backbone.vocab_size,
                args.token_store,
            )
            for side in SIDES
        )
    for side, store in zip(SIDES, (queries, passages), strict=True):
        if store.num_truncated:
            logger.info(
                "%d of %d different %s texts have more than %d tokens and are cut.",
                store.num_truncated,
                len(store.tokens),
                side,
                model.max_length[side],
            )
    repeats_once = args.embed_repeats_once
    if repeats_once is None:
        repeats_once = not has_dropout(model)
    return StepDataset(sampler, queries, passages, args.negatives_from, repeats_once=repeats_once)


def has_dropout(model: BiEncoder) -> bool:
    """Tell whether training drops anything; transformers also keep rates in their configuration."""
    config = getattr(getattr(model.backbone, "model", None), "config", None)
    rates = [
        value
        for name, value in ({} if config is None else config.to_dict()).items()
        if "dropout" in name and isinstance(value, float)
    ]
    rates += [module.p for module in model.modules() if isinstance(module, _DropoutNd)]
    return any(rate > 0 for rate in rates)
