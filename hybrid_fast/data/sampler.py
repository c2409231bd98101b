"""Hybrid batches as a pure function of (table, options, seed, step, rank).

Any step of any epoch can be computed on its own, so a run resumes at once, without replay or
sampler state, and every rank and loader worker sees the same global batches. The plan is computed
in C++ (`csrc/core/planner.h`); docs/sampling.md lists the guarantees.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from hybrid_fast import _core
from hybrid_fast.data.plan_columns import Column
from hybrid_fast.data.plan_errors import make_planner
from hybrid_fast.data.plan_index import PlanIndex
from hybrid_fast.data.plan_options import (
    DEFAULT_ALPHA,
    KINDS,
    check_batch_size,
    check_integer,
    check_plan,
    check_rank,
)
from hybrid_fast.data.plan_report import PlanReport, ShareOfPlan
from hybrid_fast.data.sampling_weights import (
    LanguageSampling,
    parse_language_sampling,
    parse_pair_weights,
    parse_source_weights,
)
from hybrid_fast.data.table import AlignedTable, check_table

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Batch(Sequence[tuple[int, int]]):
    """One rank's slice of a global batch: `batch[i]` is (query row, passage row).

    Attributes:
        step: the step it belongs to.
        kind: "mono", "cross" or "mixed".
        query_rows: int64 (batch_size / world_size,), rows of the table.
        passage_rows: int64 (batch_size / world_size,), rows of the table.
        substitutions: number of examples of the global batch that were replaced because their
            group, query or passage was already in it.
    """

    step: int
    kind: str
    query_rows: npt.NDArray[np.int64]
    passage_rows: npt.NDArray[np.int64]
    substitutions: int

    def __len__(self) -> int:
        return len(self.query_rows)

    @overload
    def __getitem__(self, i: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, i: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, i: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(i, slice):
            return list(
                zip(self.query_rows[i].tolist(), self.passage_rows[i].tolist(), strict=True)
            )
        return int(self.query_rows[i]), int(self.passage_rows[i])


class HybridBatchSampler:
    """Plans batches over an aligned table; an iterable, with random access by `batch(step)`.

    Args:
        table: the items, or their index.
        batch_size: examples in a global batch, over all ranks; a multiple of `world_size`.
        kind: "mono" (one language per batch), "cross" (query and passage languages differ in every
            example), "mixed" (they are equal in every example, and languages are mixed within the
            batch), or "hybrid" (a share `alpha` of the batches is mono, the others are cross).
        alpha: share of mono batches in a hybrid plan, from 0 to 1. Default: 0.5, or 0 for a table
            of line-aligned bitext, which serves cross batches alone; this is logged.
        language_sampling: how often languages (mono, mixed) and pairs (cross) are drawn: "uniform",
            "proportional", an exponent t (n^t for n items), or weights by language, where the
            weight of a pair is the product of its languages' weights. Codes may be spelt otherwise
            than in the table: deu for de.
        pair_weights: weights by pair, {"de-en": 1.0} with the query language first; pairs that are
            not named are not drawn. Default: according to `language_sampling`.
        source_weights: weights by source within a language or pair; sources that are not named are
            not drawn. Default: sources in proportion to their size.
        pairs: "mixed" draws a pair for each example, "single" one pair for a whole cross batch.
        seed: determines the order.
        rank: the slice of each global batch that this process takes.
        world_size: number of processes.

    Raises:
        ValueError: an option out of range, or a batch size that no weights can serve (the message
            names the largest that works).
        TypeError: an option of the wrong type.
    """

    def __init__(
        self,
        table: AlignedTable | PlanIndex,
        *,
        batch_size: int,
        kind: str = "hybrid",
        alpha: float | None = None,
        language_sampling: LanguageSampling = "uniform",
        pair_weights: Mapping[str, float] | None = None,
        source_weights: Mapping[str, float] | None = None,
        pairs: str = "mixed",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_plan(kind, alpha, pairs)
        rank, world_size = check_rank(rank, world_size)
        batch_size = check_batch_size(batch_size, world_size)
        seed = check_integer("seed", seed)
        index = table
        if not isinstance(index, PlanIndex):
            check_table(index)
            if batch_size == 1 and not index.has_negatives:
                raise ValueError(
                    "batch_size is 1, and no item has hard negatives: a query would meet no "
                    "negative at all; give at least 2"
                )
            index = PlanIndex.of_table(index, by_source=source_weights is not None)
        self.batch_size = batch_size
        self.kind = kind
        if alpha is None and kind == "hybrid" and index is not table and _is_bitext(index):
            logger.warning(
                "none of %d items with a query and a passage can be in a mono batch (the two are "
                "equal, or kinds leave it out): all batches are cross, as with alpha=0",
                index.num_complete,
            )
            alpha = 0.0
        self.alpha = DEFAULT_ALPHA if alpha is None else float(alpha)
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.languages = index.languages
        self.sources = index.sources
        self.epoch = 0
        exponent, language_weights = parse_language_sampling(language_sampling, index.languages)
        by_source = parse_source_weights(source_weights, index.sources)
        self.index = index.with_sources(by_source)
        self._options: dict[str, Any] = {
            "batch_size": batch_size,
            "kind": KINDS.index(kind),
            "alpha": self.alpha,
            "exponent": exponent,
            "language_weights": language_weights,
            "pair_weights": parse_pair_weights(pair_weights, index.languages),
            "source_weights": by_source,
            "single_pair": pairs == "single",
            "seed": seed % 2**64,
            "world_size": world_size,
        }
        self._planner = make_planner(self.index, self._options)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the plan, which a copy (in a spawned loader worker) computes again."""
        return {name: value for name, value in self.__dict__.items() if name != "_planner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._planner = make_planner(self.index, self._options)

    @classmethod
    def from_arrays(
        cls,
        group_ids: Column,
        languages: Column,
        passage_ids: Column | None = None,
        has_query: npt.ArrayLike | None = None,
        has_passage: npt.ArrayLike | None = None,
        *,
        query_ids: Column | None = None,
        sources: Column | None = None,
        kind_mask: npt.ArrayLike | None = None,
        **options: Any,
    ) -> HybridBatchSampler:
        """Plan over arrays with one entry per item.

        Args:
            group_ids: this and all columns are those of `PlanIndex.from_arrays`.
            languages: language codes.
            passage_ids: default: all passages differ.
            has_query: default all True.
            has_passage: default all True.
            query_ids: default: all queries differ.
            sources: default one source.
            kind_mask: default all kinds.
            **options: those of HybridBatchSampler.

        Raises:
            ValueError: as `PlanIndex.from_arrays` and HybridBatchSampler raise.
            TypeError: likewise.
        """
        index = PlanIndex.from_arrays(
            group_ids,
            languages,
            passage_ids,
            has_query,
            has_passage,
            query_ids=query_ids,
            sources=sources,
            kind_mask=kind_mask,
        )
        return cls(index, **options)

    def batch(self, step: int) -> Batch:
        """Return this rank's slice of the global batch of a step, counted from 0 over all epochs.

        Raises:
            ValueError: a negative step, or one beyond the range of 64-bit positions.
        """
        share = self.batch_size // self.world_size
        return self._slots(step, self.rank * share, (self.rank + 1) * share)

    def global_batch(self, step: int) -> Batch:
        """Return the batch of a step over all ranks.

        Raises:
            ValueError: as `batch`.
        """
        return self._slots(step, 0, self.batch_size)

    def _slots(self, step: int, first: int, end: int) -> Batch:
        if not isinstance(step, int | np.integer) or step >= 2**63:
            raise ValueError(f"step is {step!r}; it must be a whole number below 2^63")
        queries, passages, kind, *substituted = self._planner.plan(int(step), first, end)
        return Batch(step, KINDS[kind], queries, passages, sum(substituted))

    def __len__(self) -> int:
        """Number of steps of an epoch, equal on all ranks."""
        return max(1, self.index.num_queries // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration start at step `epoch * len(self)`."""
        self.epoch = check_integer("epoch", epoch)

    def __iter__(self) -> Iterator[Batch]:
        first = self.epoch * len(self)
        return (self.batch(step) for step in range(first, first + len(self)))

    def report(self, steps: int | None = None) -> PlanReport:
        """Report the weights requested and in effect, exclusions and substitutions.

        Args:
            steps: number of steps to count substitutions over; default: an epoch, at most 1,000.

        Raises:
            ValueError: a negative number of steps.
        """
        steps = min(len(self), 1000) if steps is None else check_integer("steps", steps)
        if steps < 0:
            raise ValueError(f"steps is {steps}; it must be at least 0")
        kinds = dict.fromkeys(KINDS[:3], 0)
        substituted_entries = substituted_pairs = 0
        for step in range(steps):
            _, _, kind, entries, streams = self._planner.plan(step, 0, 0)
            kinds[KINDS[kind]] += 1
            substituted_entries += entries
            substituted_pairs += streams
        return PlanReport(
            batch_size=self.batch_size,
            rows=self.index.num_items,
            queries=self.index.num_different_queries,
            passages=self.index.num_different_passages,
            steps=steps,
            batches={kind: count for kind, count in kinds.items() if count},
            substituted_entries=substituted_entries,
            substituted_pairs=substituted_pairs,
            languages=[self._named(s) for s in self._planner.mono_shares],
            pairs=[self._named(s) for s in self._planner.pair_shares],
        )

    def _named(self, share: _core.Share) -> ShareOfPlan:
        return ShareOfPlan(
            query_language=self.languages[share.query_language],
            passage_language=self.languages[share.passage_language],
            source=None if share.source < 0 else self.sources[share.source],
            size=share.size,
            capacity=share.capacity,
            asked=share.asked,
            effective=share.effective,
        )


def _is_bitext(index: PlanIndex) -> bool:
    """Tell whether items with a query and a passage serve cross batches alone."""
    return len(index.languages) > 1 and index.num_complete > 0 == index.num_examples["mono"]
