"""Hybrid batches as a pure function of (table, options, seed, step, rank).

Any step of any epoch is computed by itself, so a run resumes at once, without replay and without
sampler state, and every rank and loader worker sees the same global batches. The plan itself is
made in C++ (`csrc/core/planner.h`); see docs/sampling.md for what is guaranteed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from hybrid_fast import _core
from hybrid_fast.data.names import nearest
from hybrid_fast.data.plan_report import PlanReport, ShareOfPlan
from hybrid_fast.data.table import AlignedTable

Law = str | float | Mapping[str, float]
KINDS = ("mono", "cross", "mixed", "hybrid")
MONO, CROSS, MIXED = 1, 2, 4  # bits of AlignedTable.kind_mask

# Bits of `uses` in the core: what a row may serve as.
_MONO_EXAMPLE, _MIXED_EXAMPLE, _CROSS_QUERY, _CROSS_PASSAGE = 1, 2, 4, 8


@dataclasses.dataclass(frozen=True)
class Batch(Sequence[tuple[int, int]]):
    """One rank's slice of a global batch: `batch[i]` is (query row, passage row).

    Attributes:
        step: the step it belongs to.
        kind: "mono", "cross" or "mixed".
        query_rows: int64 (batch_size / world_size,), rows of the table.
        passage_rows: the same for the passages.
        substitutions: entries of the global batch that were replaced because their group or
            passage was already in it.
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


@dataclasses.dataclass(frozen=True)
class _Columns:
    """What the plan needs of a table, one entry an item."""

    languages: tuple[str, ...]
    sources: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    language_codes: npt.NDArray[np.int32]
    passages: npt.NDArray[np.int64]
    source_codes: npt.NDArray[np.int32]
    has_query: npt.NDArray[np.bool_]
    has_passage: npt.NDArray[np.bool_]
    kind_mask: npt.NDArray[np.uint8]

    def uses(self) -> npt.NDArray[np.uint8]:
        both = self.has_query & self.has_passage
        cross = (self.kind_mask & CROSS) != 0
        uses = np.zeros(len(self.groups), np.uint8)
        uses[both & ((self.kind_mask & MONO) != 0)] |= _MONO_EXAMPLE
        uses[both & ((self.kind_mask & MIXED) != 0)] |= _MIXED_EXAMPLE
        uses[self.has_query & cross] |= _CROSS_QUERY
        uses[self.has_passage & cross] |= _CROSS_PASSAGE
        return uses


class HybridBatchSampler:
    """Plans batches over an aligned table; iterable, and random access by `batch(step)`.

    Args:
        table: the items.
        batch_size: examples in a global batch, over all ranks; a multiple of `world_size`.
        kind: "mono" (one language a batch), "cross" (query and passage languages differ in every
            example), "mixed" (equal in every example, languages mixed within the batch), or
            "hybrid" (mono with share `alpha`, else cross).
        alpha: share of mono batches of a hybrid plan, from 0 to 1.
        language_law: how often a language (mono, mixed) or pair (cross) comes up: "uniform",
            "proportional", an exponent t (n^t, n the number of items), or weights by language; the
            weight of a pair is then the product of its two.
        pair_law: weights by pair, {"de-en": 1.0} with the query language first; pairs that are not
            named are not drawn. Default: as `language_law` says.
        source_weights: weights by source within a language or pair; default: sources by size.
            Sources that are not named are not drawn.
        pairs: "mixed" draws a pair for every example, "single" one for a whole cross batch.
        seed: another seed gives another order.
        rank: which slice of each global batch this process takes.
        world_size: number of processes.

    Raises:
        ValueError: an option out of range, or a batch size that no law can serve; the message
            names the largest that works.
    """

    def __init__(
        self,
        table: AlignedTable,
        *,
        batch_size: int,
        kind: str = "hybrid",
        alpha: float = 0.5,
        language_law: Law = "uniform",
        pair_law: Mapping[str, float] | None = None,
        source_weights: Mapping[str, float] | None = None,
        pairs: str = "mixed",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        columns = _Columns(
            languages=table.languages,
            sources=table.sources,
            groups=table.group_codes,
            language_codes=table.language_codes,
            passages=table.passage_codes,
            source_codes=table.source_codes,
            has_query=table.has_query,
            has_passage=table.has_passage,
            kind_mask=table.kind_mask,
        )
        self._plan(
            columns,
            batch_size=batch_size,
            kind=kind,
            alpha=alpha,
            language_law=language_law,
            pair_law=pair_law,
            source_weights=source_weights,
            pairs=pairs,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )

    @classmethod
    def from_arrays(
        cls,
        group_ids: npt.ArrayLike,
        languages: npt.ArrayLike,
        passage_ids: npt.ArrayLike | None = None,
        has_query: npt.ArrayLike | None = None,
        has_passage: npt.ArrayLike | None = None,
        *,
        sources: npt.ArrayLike | None = None,
        kind_mask: npt.ArrayLike | None = None,
        **options: Any,
    ) -> HybridBatchSampler:
        """Plan over columns held elsewhere, one entry an item.

        Args:
            group_ids: (n,) integers or strings; items of one group are translations.
            languages: (n,) language codes as strings.
            passage_ids: (n,) integers (-1: none) or strings; default: every passage is its own.
            has_query: (n,) bool, default all True.
            has_passage: (n,) bool, default all True.
            sources: (n,) strings, default one source.
            kind_mask: (n,) uint8 of bits 1 mono, 2 cross, 4 mixed; default all.
            **options: those of HybridBatchSampler.

        Raises:
            ValueError: columns of different lengths or shapes, or as HybridBatchSampler raises.
            TypeError: ids that are neither integers nor strings.
        """
        groups = _codes("group_ids", group_ids)
        n = len(groups)
        names, language_codes = _named_codes("languages", languages)
        source_names, source_codes = _named_codes(
            "sources", np.full(n, "all") if sources is None else sources
        )
        present = np.ones(n, np.bool_) if has_passage is None else np.asarray(has_passage, np.bool_)
        passages = np.arange(n) if passage_ids is None else _codes("passage_ids", passage_ids)
        sampler = cls.__new__(cls)
        columns = _Columns(
            languages=names,
            sources=source_names,
            groups=groups,
            language_codes=language_codes,
            passages=np.ascontiguousarray(np.where(present, passages, -1))
            if len(passages) == len(present)
            else passages,
            source_codes=source_codes,
            has_query=np.ones(n, np.bool_)
            if has_query is None
            else np.asarray(has_query, np.bool_),
            has_passage=present,
            kind_mask=np.full(n, 7, np.uint8)
            if kind_mask is None
            else np.asarray(kind_mask, np.uint8),
        )
        for field in dataclasses.fields(columns)[3:]:
            values = getattr(columns, field.name)
            if values.shape != (n,):
                raise ValueError(
                    f"group_ids has {n} entries, but {field.name} has shape {values.shape}; "
                    "every column needs one entry an item"
                )
        sampler._plan(columns, **options)
        return sampler

    def _plan(
        self,
        columns: _Columns,
        *,
        batch_size: int,
        kind: str = "hybrid",
        alpha: float = 0.5,
        language_law: Law = "uniform",
        pair_law: Mapping[str, float] | None = None,
        source_weights: Mapping[str, float] | None = None,
        pairs: str = "mixed",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; it must be one of {KINDS}{nearest(kind, KINDS)}")
        if pairs not in ("mixed", "single"):
            raise ValueError(f"pairs is {pairs!r}; it must be 'mixed' or 'single'")
        if world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"rank is {rank} of world_size {world_size}; 0 <= rank < world_size is needed"
            )
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(
                f"batch_size is {batch_size}, which {world_size} ranks do not divide; "
                f"take a positive multiple of {world_size}"
            )
        exponent, language_weights = _law(language_law, columns.languages)
        uses = columns.uses()
        self.batch_size = batch_size
        self.kind = kind
        self.alpha = alpha
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.languages = columns.languages
        self.sources = columns.sources
        self.epoch = 0
        self._num_queries = int(columns.has_query.sum())
        self._planner = _core.Planner(
            groups=columns.groups,
            languages=columns.language_codes,
            passages=columns.passages,
            uses=uses,
            sources=columns.source_codes,
            num_languages=len(columns.languages),
            num_sources=len(columns.sources),
            batch_size=batch_size,
            kind=KINDS.index(kind),
            alpha=alpha,
            exponent=exponent,
            language_weights=language_weights,
            pair_weights=_pair_weights(pair_law, columns.languages),
            source_weights=_weights("source_weights", source_weights, columns.sources),
            single_pair=pairs == "single",
            seed=seed % 2**64,
        )

    def batch(self, step: int) -> Batch:
        """Return this rank's slice of the global batch of `step`, counted from 0 over all epochs.

        Raises:
            ValueError: a negative step, or one beyond the range of 64-bit positions.
        """
        share = self.batch_size // self.world_size
        begin = self.rank * share
        queries, passages, kind, entries, lanes = self._planner.plan(step, begin, begin + share)
        return Batch(step, KINDS[kind], queries, passages, entries + lanes)

    def __len__(self) -> int:
        """Steps of an epoch, equal on all ranks."""
        return max(1, self._num_queries // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration begin at step `epoch * len(self)`."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        first = self.epoch * len(self)
        return (self.batch(step) for step in range(first, first + len(self)))

    def report(self, steps: int | None = None) -> PlanReport:
        """Say what the law asked for, what it became, what is left out and what was substituted.

        Args:
            steps: steps over which substitutions are counted; default: an epoch, at most 1,000.
        """
        steps = min(len(self), 1000) if steps is None else steps
        share = self._planner
        kinds = dict.fromkeys(KINDS[:3], 0)
        entries = lanes = 0
        for step in range(steps):
            _, _, kind, substituted_entries, substituted_lanes = share.plan(step, 0, 0)
            kinds[KINDS[kind]] += 1
            entries += substituted_entries
            lanes += substituted_lanes
        return PlanReport(
            batch_size=self.batch_size,
            steps=steps,
            batches={kind: count for kind, count in kinds.items() if count},
            substituted_entries=entries,
            substituted_pairs=lanes,
            languages=[self._named(s) for s in share.mono_shares],
            pairs=[self._named(s) for s in share.lane_shares],
        )

    def _named(self, share: _core.Share) -> ShareOfPlan:
        return ShareOfPlan(
            query_language=self.languages[share.query_language],
            passage_language=self.languages[share.passage_language],
            source=None if share.source < 0 else self.sources[share.source],
            size=share.size,
            asked=share.asked,
            effective=share.effective,
        )


def _codes(name: str, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
    values = np.asarray(ids)
    if values.ndim != 1:
        raise ValueError(f"{name} has {values.ndim} dimensions; a one-dimensional column is needed")
    if values.dtype.kind in "iu":
        return np.ascontiguousarray(values, np.int64)
    return _named_codes(name, values)[1].astype(np.int64)


def _named_codes(name: str, values: npt.ArrayLike) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "UO":
        raise TypeError(
            f"{name} is an array of shape {array.shape} and type {array.dtype}; "
            "a one-dimensional column of strings is needed"
        )
    names, codes = np.unique(array, return_inverse=True)
    return tuple(str(n) for n in names), codes.astype(np.int32)


def _law(law: Law, languages: tuple[str, ...]) -> tuple[float, list[float]]:
    """Exponent and language weights; the weights are empty where the exponent rules."""
    if isinstance(law, Mapping):
        return 0.0, _weights("language_law", law, languages)
    named = {"uniform": 0.0, "proportional": 1.0}
    if isinstance(law, str):
        if law not in named:
            raise ValueError(
                f"language_law is {law!r}; it must be 'uniform', 'proportional', an exponent or "
                f"weights by language{nearest(law, named)}"
            )
        return named[law], []
    return float(law), []


def _weights(
    option: str, weights: Mapping[str, float] | None, names: tuple[str, ...]
) -> list[float]:
    if weights is None:
        return []
    for name in weights:
        if name not in names:
            raise ValueError(
                f"{option} names {name!r}, which the table does not have; "
                f"it has {', '.join(names)}{nearest(name, names)}"
            )
    return [float(weights.get(name, 0.0)) for name in names]


def _pair_weights(weights: Mapping[str, float] | None, languages: tuple[str, ...]) -> list[float]:
    if weights is None:
        return []
    pairs = tuple(f"{x}-{y}" for x in languages for y in languages)
    return _weights("pair_law", weights, pairs)
