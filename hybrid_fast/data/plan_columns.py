"""The columns of a table that the batch plan works on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_fast.data.arrow_texts import as_texts, is_text
from hybrid_fast.data.columns import KIND_BITS
from hybrid_fast.data.table import AlignedTable
from hybrid_fast.data.text_ids import query_text_ids, text_ids

Column: TypeAlias = "npt.ArrayLike | pa.Array | pa.ChunkedArray | Sequence[str]"

_MONO, _CROSS, _MIXED = (KIND_BITS[kind] for kind in ("mono", "cross", "mixed"))

# Bits of `Use` in csrc/core/columns.h.
_MONO_EXAMPLE, _MIXED_EXAMPLE, _CROSS_QUERY, _CROSS_PASSAGE = 1, 2, 4, 8


@dataclasses.dataclass(frozen=True)
class PlanColumns:
    """What the plan needs of a table, one entry per item."""

    languages: tuple[str, ...]
    sources: tuple[str, ...]  # (): not told apart
    groups: npt.NDArray[np.int64]
    language_codes: npt.NDArray[np.int32]
    queries: npt.NDArray[np.int64]  # -1: none; (0,): all differ
    passages: npt.NDArray[np.int64]  # -1: none
    source_codes: npt.NDArray[np.int32]
    has_query: npt.NDArray[np.bool_]
    has_passage: npt.NDArray[np.bool_]
    kind_mask: npt.NDArray[np.uint8]

    def only_sources(self, drawn: npt.NDArray[np.bool_]) -> PlanColumns:
        """Return columns whose kinds are none for rows of sources that are not drawn.

        Args:
            drawn: bool (number of sources,).
        """
        return dataclasses.replace(
            self, kind_mask=np.where(drawn[self.source_codes], self.kind_mask, 0).astype(np.uint8)
        )

    def uses(self) -> npt.NDArray[np.uint8]:
        """Return what each item may be used as, in bits of the core's `Use`, uint8 (n,)."""
        both = self.has_query & self.has_passage
        cross = (self.kind_mask & _CROSS) != 0
        uses = np.zeros(len(self.groups), np.uint8)
        uses[both & ((self.kind_mask & _MONO) != 0)] |= _MONO_EXAMPLE
        uses[both & ((self.kind_mask & _MIXED) != 0)] |= _MIXED_EXAMPLE
        uses[self.has_query & cross] |= _CROSS_QUERY
        uses[self.has_passage & cross] |= _CROSS_PASSAGE
        return uses

    @staticmethod
    def count_examples(uses: npt.NDArray[np.uint8]) -> dict[str, int]:
        """Return how many items can be an example of a mono and of a mixed batch."""
        bits = {"mono": _MONO_EXAMPLE, "mixed": _MIXED_EXAMPLE}
        return {kind: int(np.count_nonzero(uses & bit)) for kind, bit in bits.items()}

    @classmethod
    def of_table(cls, table: AlignedTable, *, by_source: bool) -> PlanColumns:
        """Take the columns of an aligned table; its sources only if `by_source`."""
        return cls(
            languages=table.languages,
            sources=table.sources if by_source else (),
            groups=table.group_codes,
            language_codes=table.language_codes,
            queries=query_text_ids(table.text_column("query", slice(0, len(table)))),
            passages=table.passage_codes,
            source_codes=table.source_codes if by_source else np.zeros(len(table), np.int32),
            has_query=table.has_query,
            has_passage=table.has_passage,
            kind_mask=table.kind_mask,
        )

    @classmethod
    def of_arrays(
        cls,
        group_ids: Column,
        languages: Column,
        passage_ids: Column | None,
        has_query: npt.ArrayLike | None,
        has_passage: npt.ArrayLike | None,
        query_ids: Column | None,
        sources: Column | None,
        kind_mask: npt.ArrayLike | None,
    ) -> PlanColumns:
        """Take columns from arrays; see `PlanIndex.from_arrays`."""
        groups = _own_groups(_ids("group_ids", group_ids))
        num_items = len(groups)
        language_names, language_codes = _named_codes("languages", languages)
        source_names: tuple[str, ...] = ()
        source_codes = np.zeros(num_items, np.int32)
        if sources is not None:
            source_names, source_codes = _named_codes("sources", sources)
        passages = np.arange(num_items, dtype=np.int64)
        if passage_ids is not None:
            passages = _ids("passage_ids", passage_ids)
        queries = np.empty(0, np.int64)
        if query_ids is not None:
            queries = _ids("query_ids", query_ids)
            _check_length("query_ids", queries, num_items)
        asks = _flags("has_query", has_query, num_items)
        present = _flags("has_passage", has_passage, num_items)
        kinds = np.full(num_items, _MONO | _CROSS | _MIXED, np.uint8)
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
            queries=queries if asks.all() or not len(queries) else np.where(asks, queries, -1),
            passages=passages if present.all() else np.where(present, passages, -1),
            source_codes=source_codes,
            has_query=asks,
            has_passage=present,
            kind_mask=kinds,
        )


def _kind_mask(kind_mask: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    array = np.asarray(kind_mask)
    largest = _MONO | _CROSS | _MIXED
    if array.dtype.kind not in "iu" or (
        array.size and not 0 <= array.min() <= array.max() <= largest
    ):
        raise ValueError(
            f"kind_mask must hold whole numbers from 0 to {largest}: 1 mono + 2 cross + 4 mixed"
        )
    return np.ascontiguousarray(array, np.uint8)


def _check_length(name: str, column: np.ndarray, num_items: int) -> None:
    if column.shape != (num_items,):
        raise ValueError(
            f"group_ids has {num_items} entries, but {name} has shape {column.shape}; "
            "every column needs one entry per item"
        )


def _flags(name: str, flags: npt.ArrayLike | None, num_items: int) -> npt.NDArray[np.bool_]:
    if flags is None:
        return np.ones(num_items, np.bool_)
    array = np.asarray(flags)
    if array.dtype != np.bool_:
        raise TypeError(f"{name} has type {array.dtype}; an array of bool is needed")
    _check_length(name, array, num_items)
    return array


def _own_groups(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give each item of group -1 a group of its own."""
    alone = groups == -1
    count = int(alone.sum())
    if not count:
        return groups
    first = int(groups.max()) + 1
    if first > np.iinfo(np.int64).max - count:
        raise ValueError(f"group_ids reach {first - 1}, which leaves no ids for items of group -1")
    own = groups.copy()
    own[alone] = first + np.arange(count)
    return own


def _ids(name: str, ids: Column) -> npt.NDArray[np.int64]:
    """Return integers as they are, strings as the hashes of their bytes, missing ones as -1."""
    values = _array(ids)
    if not isinstance(values, np.ndarray):
        if not pa.types.is_integer(values.type):
            return text_ids(_texts(name, values))
        values = pc.fill_null(_as_int64(name, values), -1).to_numpy()
    if values.ndim != 1:
        raise ValueError(f"{name} has {values.ndim} dimensions; a one-dimensional column is needed")
    if values.dtype.kind in "iu":
        if values.dtype.kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{name} holds {values.max()}; ids must fit int64")
        column = np.ascontiguousarray(values, np.int64)
        if len(column) and column.min() < -1:
            row = int(column.argmin())
            raise ValueError(f"{name}[{row}] is {column[row]}; -1 (none) or more is needed")
        return column
    return text_ids(_texts(name, values))


def _as_int64(name: str, ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return integers as int64, in which a missing one can be -1."""
    try:
        return ids.cast(pa.int64())
    except pa.ArrowInvalid:
        raise ValueError(f"{name} holds {pc.max(ids)}; ids must fit int64") from None


def _named_codes(name: str, values: Column) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    encoded = _texts(name, _array(values)).dictionary_encode()
    if encoded.null_count:
        row = pc.index(encoded.is_null(), True).as_py()
        raise ValueError(f"{name}[{row}] is missing; every item needs one")
    names = encoded.dictionary.to_pylist()
    ranks = np.empty(len(names), np.int32)
    ranks[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    return tuple(sorted(names)), ranks[encoded.indices.to_numpy()]


def _array(values: Column) -> np.ndarray | pa.Array | pa.ChunkedArray:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else np.asarray(values)


def _texts(name: str, values: np.ndarray | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of strings as one Arrow array."""
    if isinstance(values, np.ndarray):
        if values.ndim == 1 and values.dtype.kind in "UO":
            try:
                return pa.array(values, pa.large_string())
            except pa.ArrowTypeError:
                pass
        raise TypeError(
            f"{name} is an array of shape {values.shape} and type {values.dtype}; "
            "a one-dimensional column of strings is needed"
        )
    if not is_text(values.type):
        raise TypeError(f"{name} holds {values.type}; a column of strings is needed")
    column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    return as_texts(column).cast(pa.large_string()).combine_chunks()
