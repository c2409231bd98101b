"""Training batches by step: the data loader that the Trainer iterates and resumes.

The data set's item is a whole step, so skipping to the middle of an epoch skips integers only and
nothing is fetched that was already seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hybrid_fast.data import AlignedTable, HybridBatchSampler
from hybrid_fast.models import BiEncoder

Features = dict[str, Tensor]


class StepDataset(Dataset[dict[str, Any]]):
    """Item `step` is the tokenised local batch of that step.

    Keys: `queries` and `passages`, the features of B queries and of N passages (the B positives,
    then all hard negatives); `passage_ids`, int64 (N,), only if the table has hard negatives: equal
    numbers are equal texts on all ranks, so that a hard negative which is another row's positive is
    no negative of it.
    """

    def __init__(
        self,
        table: AlignedTable,
        sampler: HybridBatchSampler,
        encoder: BiEncoder,
        negatives_from: str,
    ) -> None:
        self.table = table
        self.sampler = sampler
        self.encoder = encoder
        self.negatives_from = negatives_from
        lengths = pc.list_value_length(table.dataset.data.column("negatives"))
        self.has_negatives = (pc.sum(lengths).as_py() or 0) > 0

    def __getitem__(self, step: int) -> dict[str, Any]:
        batch = self.sampler.batch(step)
        passages = self.table.passages(batch.passage_rows)
        source_rows = batch.passage_rows if self.negatives_from == "passage" else batch.query_rows
        negatives = [text for row in self.table.negatives(source_rows) for text in row]
        item: dict[str, Any] = {
            "queries": self.encoder.tokenize(self.table.queries(batch.query_rows), "query"),
            "passages": self.encoder.tokenize(passages + negatives, "passage"),
        }
        if self.has_negatives:
            item["passage_ids"] = torch.tensor([_text_id(text) for text in passages + negatives])
        return item

    def __len__(self) -> int:
        return len(self.sampler)


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

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration yield the steps of this epoch."""
        self.sampler.set_epoch(epoch)


class StepLoader(DataLoader[dict[str, Any]]):
    """A data loader over steps that passes the epoch on, as the Trainer expects."""

    def __init__(self, dataset: StepDataset, **options: Any) -> None:
        self.sampler_of_steps = EpochSteps(dataset.sampler)
        super().__init__(dataset, batch_sampler=self.sampler_of_steps, collate_fn=_only, **options)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration yield the steps of this epoch."""
        self.sampler_of_steps.set_epoch(epoch)


def _text_id(text: str) -> int:
    """A number of the text that every process finds; never -1, which would match nothing."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _only(items: list[dict[str, Any]]) -> dict[str, Any]:
    return items[0]
