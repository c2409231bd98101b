"""The aligned table: rows of (group, language, query, passage) over a `datasets.Dataset`.

A row is an item: one question and its answer in one language. Rows of one group are translations
of each other. The integer codes that the batch plan works on take 27 bytes per row and are made on
first use; a table that was saved and loaded stays memory-mapped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.files import new_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.data.arrow_texts import one_chunk
from hybrid_fast.data.columns import (
    KIND_BITS,
    ON_MISSING_TITLE,
    OnMissingTitle,
    complete,
    from_mapping,
    join,
    kind_mask,
    titled_passages,
)
from hybrid_fast.data.fingerprint import content_fingerprint
from hybrid_fast.data.languages import LanguageCodes, unite_codes, warn_of_merged_languages
from hybrid_fast.data.table_file import open_table, verify_table, write_table
from hybrid_fast.data.table_makers import as_arrow, maker_of
from hybrid_fast.data.text_codes import sorted_text_codes, text_codes

TABLE_FILE = "table.arrow"
_LARGE_LIST = pa.large_list(pa.large_string())


class AlignedTable:
    """Queries and passages, aligned across languages by their group.

    Make one with `load_table`, `from_columns`, `from_dataset` or `load`.

    Attributes:
        dataset: the rows as a `datasets.Dataset` with the columns group_id, lang, query, passage,
            passage_id, title, negatives, source and kinds, in_batch where that of a row is False,
            and negative_scores and positive_score where one is known. Ids begin with "<source>:"; a
            passage that was given no id has one made from its text, equal in all sources.
        folder: the folder it was loaded from; None if it was not loaded.
    """

    def __init__(
        self, dataset: Dataset, fingerprint: str | None = None, folder: Path | None = None
    ) -> None:
        self.dataset = dataset
        self.folder = folder
        self._fingerprint = fingerprint
        self._is_verified = False
        self._language_codes: LanguageCodes | None = None
        self._arrow = one_chunk(dataset.with_format("arrow")[:])

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], **options: Any) -> AlignedTable:
        """Make a table from columns with our names; `load_table` takes others, and records.

        Args:
            columns: at least "group_id", "lang", and "query" or "passage": a mapping or a data
                frame. A column is a sequence, an iterator, an array or series of NumPy, pandas,
                polars or Arrow, or one value for all rows: lang="en".
            **options: those of `from_arrow`.

        Raises:
            ValueError: for a missing column, or a row that cannot be used, with the row.
            TypeError: for a value of the wrong type, with its column and row.
        """
        if not hasattr(columns, "items") or getattr(columns, "ndim", 2) == 1:
            frame = as_arrow(columns, "a mapping of columns")
            columns = dict(zip(frame.column_names, frame.columns, strict=True))
        return cls.from_arrow(from_mapping(columns), **options)

    @classmethod
    def from_dataset(cls, dataset: Dataset, **options: Any) -> AlignedTable:
        """Make a table from a `datasets.Dataset` with our column names; others are left out.

        Args and errors as `from_columns`.
        """
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"needs a datasets.Dataset, got {type(dataset).__name__}; {maker_of(dataset)}"
            )
        return cls.from_arrow(dataset.with_format("arrow")[:], **options)

    @classmethod
    def from_arrow(
        cls,
        table: Any,
        *,
        source: str = "data",
        keep_variants: bool = False,
        on_missing_title: OnMissingTitle = "error",
    ) -> AlignedTable:
        """Make a table from an Arrow table with our column names; others are left out.

        Args:
            table: a pyarrow.Table, or whatever has the interface of Arrow streams, such as a data
                frame or a reader of record batches; at least the columns "group_id", "lang", and
                "query" or "passage".
            source: name of the data set, if there is no column "source".
            keep_variants: keep script, region and variants of the language codes.
            on_missing_title: what to do if a passage has a title and its hard negatives, which are
                texts alone, have none: "error", "allow" (texts hold theirs), or "drop" all titles.

        Raises: as `from_columns`.
        """
        if not isinstance(source, str) or not source:
            raise ValueError(f"source must be a name, got {source!r}")
        table = as_arrow(table, "a pyarrow.Table")
        check_choice("on_missing_title", on_missing_title, ON_MISSING_TITLE)
        completed, codes = complete(table, source, keep_variants, on_missing_title)
        warn_of_merged_languages(source, codes)
        made = cls._wrap(completed)
        made._language_codes = codes
        return made

    @classmethod
    def _wrap(cls, table: pa.Table) -> AlignedTable:
        """Wrap a complete Arrow table."""
        table = one_chunk(table)
        fingerprint = content_fingerprint(table)
        return cls(Dataset(table, fingerprint=fingerprint), fingerprint)

    @staticmethod
    def concatenate(tables: Sequence[AlignedTable]) -> AlignedTable:
        """Return one table with the rows of all tables, in order.

        Groups of different sources stay apart; groups of equal source and id become one.

        Raises:
            ValueError: there is no table.
        """
        if not tables:
            raise ValueError("concatenate needs at least one table; none is given")
        for table in tables:
            check_table(table)
        codes = unite_codes(table._given_codes() for table in tables)
        warn_of_merged_languages("the tables together", codes, alike=True)
        return AlignedTable._wrap(join(table._arrow for table in tables))

    def save(self, folder: str | Path) -> None:
        """Write the table to a new folder, which appears complete or not at all.

        Raises:
            FileExistsError: there is something of that name.
        """
        with new_folder(folder) as staged:
            write_table(staged / TABLE_FILE, self._arrow, self.fingerprint)

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool | None = None) -> AlignedTable:
        """Open a saved table, memory-mapped.

        Args:
            folder: one that `save` wrote.
            verify: see `verify`. Default: up to 256 MiB, which takes a fraction of a second; of
                larger files the structure alone is checked.

        Raises:
            FileNotFoundError: if the folder was not written by `save`.
            ValueError: if its file is damaged, or is not that of an aligned table.
        """
        folder = expanded(folder)
        path = folder / TABLE_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{folder} was not written by AlignedTable.save")
        dataset, fingerprint, is_verified = open_table(path, verify)
        table = cls(dataset, fingerprint, folder)
        table._is_verified = is_verified
        return table

    def verify(self) -> None:
        """Compare all texts with the fingerprint, unless that was done or the table was not loaded.

        Raises:
            ValueError: they are not those that were saved.
        """
        if self.folder is not None and not self._is_verified:
            verify_table(self.folder / TABLE_FILE, self._arrow, self.fingerprint)
        self._is_verified = True

    def __reduce__(self) -> tuple[type[AlignedTable], tuple[Dataset, str | None, Path | None]]:
        return AlignedTable, (self.dataset, self._fingerprint, self.folder)

    def __len__(self) -> int:
        return len(self.dataset)

    def __repr__(self) -> str:
        return (
            f"AlignedTable({len(self):,} rows, languages: {' '.join(self.languages)}, "
            f"sources: {' '.join(self.sources)})"
        )

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on the content alone."""
        return self._fingerprint or content_fingerprint(self._arrow)

    @property
    def languages(self) -> tuple[str, ...]:
        """The BCP-47 codes of the languages, sorted."""
        return self._languages[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources, sorted."""
        return self._sources[0]

    @property
    def language_codes(self) -> np.ndarray:
        """Position in `languages` of each row's language, int32 (n,)."""
        return self._languages[1]

    @property
    def source_codes(self) -> np.ndarray:
        """Position in `sources` of each row's source, int32 (n,)."""
        return self._sources[1]

    @cached_property
    def group_codes(self) -> np.ndarray:
        """Number of each row's group, dense from 0 in order of appearance, int64 (n,)."""
        return text_codes(self._arrow["group_id"])[1].astype(np.int64)

    @cached_property
    def passage_codes(self) -> np.ndarray:
        """Number of each row's passage id, dense from 0, -1 without a passage, int64 (n,)."""
        return text_codes(self._arrow["passage_id"])[1].astype(np.int64)

    @cached_property
    def has_query(self) -> np.ndarray:
        """Whether each row has a query, bool (n,)."""
        return self._arrow.column("query").is_valid().to_numpy()

    @cached_property
    def has_passage(self) -> np.ndarray:
        """Whether each row has a passage, bool (n,)."""
        return self._arrow.column("passage").is_valid().to_numpy()

    @cached_property
    def kind_mask(self) -> np.ndarray:
        """Batch kinds that may draw each row, uint8 (n,): bits 1 mono, 2 cross, 4 mixed.

        A row whose query equals its passage is drawn in cross batches alone, whatever its kinds.
        """
        mask = kind_mask(self._arrow.column("kinds"))
        same = pc.equal(self._arrow.column("query"), self._arrow.column("passage"))
        mask[pc.fill_null(same, False).to_numpy()] &= KIND_BITS["cross"]
        return mask

    @cached_property
    def in_batch(self) -> np.ndarray:
        """Whether other examples' passages are negatives of each row's query, bool (n,)."""
        if "in_batch" not in self._arrow.column_names:
            return np.ones(len(self), np.bool_)
        return pc.fill_null(self._arrow["in_batch"], True).to_numpy()

    def queries(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the query of each row.

        Raises:
            ValueError: if a row has no query.
        """
        return self._texts("query", rows, self._take(rows, "query"))

    def passages(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Return the passage of each row, after its title and a space where it has one.

        Raises:
            ValueError: if a row has no passage.
        """
        taken = self._take(rows, "passage", "title")
        return self._texts("text", rows, taken.append_column("text", titled_passages(taken)))

    @cached_property
    def has_negatives(self) -> bool:
        """Whether any row has a hard negative."""
        return bool(pc.any(pc.greater(pc.list_value_length(self._arrow["negatives"]), 0)).as_py())

    def negatives(self, rows: Sequence[int] | np.ndarray) -> list[list[str]]:
        """Return the hard negatives of each row, in the row's language; their number varies."""
        return self._take(rows, "negatives")["negatives"].to_pylist()

    def text_column(self, side: str, rows: slice) -> pa.ChunkedArray:
        """Return the texts of consecutive rows, as `queries` or `passages` do, null if missing.

        Args:
            side: "query" or "passage".
            rows: with start and stop.
        """
        table = self._arrow.slice(rows.start, rows.stop - rows.start)
        return table.column("query") if side == "query" else titled_passages(table)

    def negative_column(self) -> pa.LargeListArray:
        """Return the hard negatives of all rows; null or empty where there are none.

        Its offsets are 64 bits: those of all rows may be longer than 2 GiB.
        """
        return self._arrow.column("negatives").cast(_LARGE_LIST).combine_chunks()

    def _given_codes(self) -> LanguageCodes:
        """Return the codes that became each language; of a loaded table, the languages."""
        if self._language_codes is None:
            counts = np.bincount(self.language_codes, minlength=len(self.languages)).tolist()
            return {name: {name: n} for name, n in zip(self.languages, counts, strict=True)}
        return self._language_codes

    @cached_property
    def _languages(self) -> tuple[tuple[str, ...], np.ndarray]:
        return sorted_text_codes(self._arrow["lang"])

    @cached_property
    def _sources(self) -> tuple[tuple[str, ...], np.ndarray]:
        return sorted_text_codes(self._arrow["source"])

    def _take(self, rows: Sequence[int] | np.ndarray, *columns: str) -> pa.Table:
        """Return some columns of some rows."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows must lie in [0, {len(self)}), got {rows.min()}..{rows.max()}")
        if self._arrow.column(columns[0]).num_chunks == 1:
            return self._arrow.select(columns).take(pa.array(rows))
        return self.dataset.with_format("arrow", columns=list(columns))[rows]

    @staticmethod
    def _texts(column: str, rows: Sequence[int] | np.ndarray, taken: pa.Table) -> list[str]:
        texts = taken[column]
        if texts.null_count:
            row = rows[pc.index(texts.is_null(), True).as_py()]
            raise ValueError(f"row {row} has no {'query' if column == 'query' else 'passage'}")
        return texts.to_pylist()


def check_table(value: object) -> None:
    """Raise TypeError, with what makes a table of such a value, unless it is a table."""
    if not isinstance(value, AlignedTable):
        raise TypeError(f"an AlignedTable is needed, got {type(value).__name__}; {maker_of(value)}")
