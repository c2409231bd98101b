"""The columns of a table that the batch plan works on."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from hybrid_fast.data.table import AlignedTable

MONO, CROSS, MIXED = 1, 2, 4  # bits of AlignedTable.kind_mask

# Bits of `Use` in csrc/core/columns.h.
_MONO_EXAMPLE, _MIXED_EXAMPLE, _CROSS_QUERY, _CROSS_PASSAGE = 1, 2, 4, 8


@dataclasses.dataclass(frozen=True)
class PlanColumns:
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
        """What each item may serve as, as bits of the core's `Use`."""
        both = self.has_query & self.has_passage
        cross = (self.kind_mask & CROSS) != 0
        uses = np.zeros(len(self.groups), np.uint8)
        uses[both & ((self.kind_mask & MONO) != 0)] |= _MONO_EXAMPLE
        uses[both & ((self.kind_mask & MIXED) != 0)] |= _MIXED_EXAMPLE
        uses[self.has_query & cross] |= _CROSS_QUERY
        uses[self.has_passage & cross] |= _CROSS_PASSAGE
        return uses

    @classmethod
    def of_table(cls, table: AlignedTable) -> PlanColumns:
        """Take the columns of an aligned table."""
        return cls(
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

    @classmethod
    def of_arrays(
        cls,
        group_ids: npt.ArrayLike,
        languages: npt.ArrayLike,
        passage_ids: npt.ArrayLike | None,
        has_query: npt.ArrayLike | None,
        has_passage: npt.ArrayLike | None,
        sources: npt.ArrayLike | None,
        kind_mask: npt.ArrayLike | None,
    ) -> PlanColumns:
        """Take columns held elsewhere; see `HybridBatchSampler.from_arrays`."""
        groups = _codes("group_ids", group_ids)
        num_items = len(groups)
        language_names, language_codes = _named_codes("languages", languages)
        source_names: tuple[str, ...] = ("all",)
        source_codes = np.zeros(num_items, np.int32)
        if sources is not None:
            source_names, source_codes = _named_codes("sources", sources)
        passages = np.arange(num_items, dtype=np.int64)
        if passage_ids is not None:
            passages = _codes("passage_ids", passage_ids)
            _check_not_below("passage_ids", passages, -1)
        present = _flags("has_passage", has_passage, num_items)
        kinds = np.full(num_items, MONO | CROSS | MIXED, np.uint8)
        if kind_mask is not None:
            kinds = _kind_mask(kind_mask)
        _check_length("languages", language_codes, num_items)
        _check_length("sources", source_codes, num_items)
        _check_length("passage_ids", passages, num_items)
        _check_length("kind_mask", kinds, num_items)
        return cls(
            languages=language_names,
            sources=source_names,
            groups=groups,
            language_codes=language_codes,
            passages=np.where(present, passages, -1),
            source_codes=source_codes,
            has_query=_flags("has_query", has_query, num_items),
            has_passage=present,
            kind_mask=kinds,
        )


def _kind_mask(kind_mask: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    array = np.asarray(kind_mask)
    largest = MONO | CROSS | MIXED
    if array.dtype.kind not in "iu" or (
        array.size and not 0 <= array.min() <= array.max() <= largest
    ):
        raise ValueError(
            f"kind_mask must hold whole numbers from 0 to {largest}: 1 mono + 2 cross + 4 mixed"
        )
    return np.ascontiguousarray(array, np.uint8)


def _check_not_below(name: str, column: npt.NDArray[np.int64], least: int) -> None:
    if len(column) and column.min() < least:
        row = int(column.argmin())
        raise ValueError(f"{name}[{row}] is {column[row]}; {least} (none) or more is needed")


def _check_length(name: str, column: np.ndarray, num_items: int) -> None:
    if column.shape != (num_items,):
        raise ValueError(
            f"group_ids has {num_items} entries, but {name} has shape {column.shape}; "
            "every column needs one entry an item"
        )


def _flags(name: str, flags: npt.ArrayLike | None, num_items: int) -> npt.NDArray[np.bool_]:
    if flags is None:
        return np.ones(num_items, np.bool_)
    array = np.asarray(flags)
    if array.dtype != np.bool_:
        raise TypeError(f"{name} has type {array.dtype}; an array of bool is needed")
    _check_length(name, array, num_items)
    return array


def _codes(name: str, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
    values = np.asarray(ids)
    if values.ndim != 1:
        raise ValueError(f"{name} has {values.ndim} dimensions; a one-dimensional column is needed")
    if values.dtype.kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} holds {values.max()}; ids must fit int64")
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
