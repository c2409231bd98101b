"""The language-pair index that batch plans are made from: built once, saved, memory-mapped.

It depends on the table alone, not on batch size, weights or seed. Building takes about 0.2 s per
million items; opening a saved index takes as long as reading it for its checksum.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast import _core
from hybrid_fast.common.files import staged_file
from hybrid_fast.common.paths import expanded
from hybrid_fast.data.plan_columns import Column, PlanColumns
from hybrid_fast.data.table import AlignedTable, check_table

logger = logging.getLogger(__name__)

FILE_NAME, BY_SOURCE_FILE_NAME = "plan.index", "plan-by-source.index"
_PROGRESS_AFTER_S = 2.0


class PlanIndex:
    """For every pair of languages, the groups with a query in one and a passage in the other.

    Make one with `of_table`, `from_arrays`, `build` or `open`; plans are made from it by
    `HybridBatchSampler(index, ...)`.

    Attributes:
        languages: codes of the languages, sorted.
        sources: names of the sources, sorted; () if it does not tell sources apart.
        num_items: number of rows of the table.
        num_queries: number of rows with a query.
        num_passages: number of rows with a passage.
        num_complete: number of rows with a query and a passage.
        num_examples: number of rows that can be an example of a "mono" or a "mixed" batch.
        num_different_queries: number of different queries.
        num_different_passages: number of different passages.
        fingerprint: of the table, "" if none was given.
    """

    def __init__(
        self, core: _core.PlanIndex, columns: PlanColumns | None, path: Path | None
    ) -> None:
        self.core = core
        note = json.loads(core.note)
        self.languages: tuple[str, ...] = tuple(note["languages"])
        self.sources: tuple[str, ...] = tuple(note["sources"])
        self.num_queries: int = note["num_queries"]
        self.num_passages: int = note["num_passages"]
        self.num_complete: int = note["num_complete"]
        self.num_examples: dict[str, int] = note["num_examples"]
        self.fingerprint: str = note["fingerprint"]
        self.num_items: int = core.num_rows
        self.num_different_queries: int = (
            self.num_queries if note["queries_differ"] else core.num_queries
        )
        self.num_different_passages: int = core.num_passages
        # Needed again if a source is left out that shares groups with others.
        self._columns = columns if core.mixes_sources else None
        self._path = path

    @classmethod
    def build(cls, columns: PlanColumns, fingerprint: str = "") -> PlanIndex:
        """Index columns, with a progress bar on a terminal after 2 seconds.

        Raises:
            ValueError: no rows, 2^32 - 1 of them or more, or more than 4,096 languages.
        """
        uses = columns.uses()
        note = {
            "languages": columns.languages,
            "sources": columns.sources,
            "num_queries": int(columns.has_query.sum()),
            "queries_differ": not len(columns.queries),
            "num_passages": int(columns.has_passage.sum()),
            "num_complete": int((columns.has_query & columns.has_passage).sum()),
            "num_examples": columns.count_examples(uses),
            "fingerprint": fingerprint,
        }
        with tqdm(
            desc=f"indexing {len(columns.groups):,} items",
            delay=_PROGRESS_AFTER_S,
            disable=None,
            leave=False,
            unit="stage",
        ) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            core = _core.PlanIndex.build(
                groups=columns.groups,
                languages=columns.language_codes,
                queries=columns.queries,
                passages=columns.passages,
                uses=uses,
                sources=columns.source_codes,
                num_languages=len(columns.languages),
                num_sources=max(1, len(columns.sources)),
                note=json.dumps(note),
                progress=show,
            )
        return cls(core, columns, None)

    @classmethod
    def of_table(cls, table: AlignedTable, *, by_source: bool = False) -> PlanIndex:
        """Return the index of a table.

        For a table that was loaded from a folder, the index is saved there as "plan.index" or
        "plan-by-source.index", and mapped from then on.

        Args:
            table: the items.
            by_source: keep the groups of a source together, as `source_weights` require. Otherwise
                groups keep the order of the table, and neighbours are drawn far apart.

        Raises:
            ValueError: the saved index is damaged or belongs to another table; remove the file, and
                the index is built again.
        """
        check_table(table)
        name = BY_SOURCE_FILE_NAME if by_source else FILE_NAME
        path = None if table.folder is None else table.folder / name
        if path is not None and path.exists():
            return cls.open(path, fingerprint=table.fingerprint)
        fingerprint = "" if path is None else table.fingerprint
        index = cls.build(PlanColumns.of_table(table, by_source=by_source), fingerprint)
        if path is not None:
            try:
                index.save(path)
            except OSError as error:
                logger.warning(
                    "the index of the batch plan is not saved beside the table: %s", error
                )
        return index

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
        fingerprint: str = "",
    ) -> PlanIndex:
        """Index arrays with one entry per item, in any order.

        Args:
            group_ids: (n,) integers or strings; items of one group are translations of each other.
                An item of group -1 has no translations.
            languages: (n,) language codes as strings.
            passage_ids: (n,) integers (-1: none) or strings, which may be ids or the texts
                themselves (compared by a 63-bit hash); default: all passages differ.
            has_query: (n,) bool, default all True.
            has_passage: (n,) bool, default all True.
            query_ids: (n,) as `passage_ids`; default: all queries differ.
            sources: (n,) strings, for `source_weights`; see `of_table` for what this changes.
                Default: one source.
            kind_mask: (n,) uint8, the sum of 1 (mono), 2 (cross) and 4 (mixed); default all.
            fingerprint: any text that identifies the table, compared by `open`.

        Columns of strings may be NumPy arrays, Arrow arrays or lists.

        Raises:
            ValueError: columns of different lengths or shapes, ids below -1, no rows.
            TypeError: columns of the wrong type.
        """
        columns = PlanColumns.of_arrays(
            group_ids,
            languages,
            passage_ids,
            has_query,
            has_passage,
            query_ids,
            sources,
            kind_mask,
        )
        return cls.build(columns, fingerprint)

    def save(self, path: str | Path) -> None:
        """Write the index to a file, which appears complete or not at all.

        Raises:
            FileNotFoundError: its folder does not exist.
        """
        with staged_file(path) as staged:
            self.core.save(str(staged))

    @classmethod
    def open(cls, path: str | Path, fingerprint: str | None = None) -> PlanIndex:
        """Map a saved index.

        Args:
            path: a file that `save` wrote.
            fingerprint: of the table; default: not compared.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not an index, is of another version or table, or is damaged.
        """
        path = expanded(path)
        try:
            core = _core.PlanIndex.open(str(path))
        except ValueError as error:
            raise ValueError(f"{path} {error}; remove it and build the index again") from None
        try:
            index = cls(core, None, path)
        except KeyError:
            raise ValueError(
                f"{path} is of another version; remove it and build the index again"
            ) from None
        if fingerprint is not None and index.fingerprint != fingerprint:
            raise ValueError(
                f"{path} is the index of another table (its fingerprint is {index.fingerprint!r}, "
                f"that of the table {fingerprint!r}); remove it and build the index again"
            )
        return index

    @property
    def num_bytes(self) -> int:
        """Size of the arrays, in memory or mapped."""
        return self.core.num_bytes

    def with_sources(self, weights: Sequence[float]) -> PlanIndex:
        """Return an index without the rows of sources of weight 0.

        If no group mixes sources, it is this index itself.

        Raises:
            ValueError: groups mix sources, and the index was opened from a file.
        """
        if not self.core.mixes_sources or all(weight > 0 for weight in weights):
            return self
        if self._columns is None:
            raise ValueError(
                "source_weights leave out a source, and some groups have items of several sources, "
                "which a saved index does not tell apart; build it from the table"
            )
        return PlanIndex.build(
            self._columns.only_sources(np.asarray(weights) > 0), self.fingerprint
        )

    def __reduce__(self) -> tuple[object, ...]:
        """A saved index is mapped again by its path; any other is copied."""
        if self._path is not None:
            return PlanIndex.open, (self._path,)
        return PlanIndex, (self.core, self._columns, None)

    def __repr__(self) -> str:
        return (
            f"PlanIndex({self.num_items:,} items, {len(self.languages)} languages, "
            f"{self.num_bytes / 2**20:,.1f} MiB)"
        )
