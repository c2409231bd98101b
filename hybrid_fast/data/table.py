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

from hybrid_fast.common.files import new_folder
from hybrid_fast.data.columns import (
    KIND_BITS,
    SCHEMA,
    complete,
    content_fingerprint,
    from_mapping,
    kind_mask,
)
from hybrid_fast.data.text_ids import query_text_ids

_FILE_NAME = "table.arrow"
_FINGERPRINT = "hybrid_fast_fingerprint"  # in the metadata of the file's schema
_LARGEST_CHUNK_BYTES = 2**31 - 1  # the offsets of an Arrow string array are int32


class AlignedTable:
    """Queries and passages, aligned across languages by their group.

    Make one with `load_table`, `from_columns`, `from_dataset` or `load`.

    Attributes:
        dataset: the rows as a `datasets.Dataset` with the columns group_id, lang, query, passage,
            passage_id, title, negatives, source and kinds. Ids begin with "<source>:"; a passage
            that was given no id has one made from its text, equal in all sources.
        folder: the folder it was loaded from; None if it was not loaded.
    """

    def __init__(
        self, dataset: Dataset, fingerprint: str | None = None, folder: Path | None = None
    ) -> None:
        self.dataset = dataset
        self.folder = folder
        self._fingerprint = fingerprint
        self._arrow = _one_chunk(dataset.with_format("arrow")[:])

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Any], *, source: str = "data", keep_variants: bool = False
    ) -> AlignedTable:
        """Make a table from sequences of Python values, one for each column.

        Args:
            columns: at least "group_id", "lang", and "query" or "passage".
            source: name of the data set, if there is no column "source".
            keep_variants: keep script, region and variants of the language codes.

        Raises:
            ValueError: for a missing column, or a row that cannot be used, with the row.
            TypeError: for a value of the wrong type, with its column and row.
        """
        return cls.from_arrow(from_mapping(columns), source=source, keep_variants=keep_variants)

    @classmethod
    def from_dataset(
        cls, dataset: Dataset, *, source: str = "data", keep_variants: bool = False
    ) -> AlignedTable:
        """Make a table from a `datasets.Dataset` with our column names; others are left out.

        Args and errors as `from_columns`.
        """
        if not isinstance(dataset, Dataset):
            raise TypeError(
                f"needs a datasets.Dataset, got {type(dataset).__name__}; of its splits give one"
            )
        table = dataset.with_format("arrow")[:]
        return cls.from_arrow(table, source=source, keep_variants=keep_variants)

    @classmethod
    def from_arrow(
        cls, table: pa.Table, *, source: str = "data", keep_variants: bool = False
    ) -> AlignedTable:
        """Make a table from an Arrow table with our column names; others are left out.

        Args and errors as `from_columns`.
        """
        if not isinstance(source, str) or not source:
            raise ValueError(f"source must be a name, got {source!r}")
        return cls._wrap(complete(table, source, keep_variants))

    @classmethod
    def _wrap(cls, table: pa.Table) -> AlignedTable:
        """Wrap a complete Arrow table."""
        table = _one_chunk(table)
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
        return AlignedTable._wrap(pa.concat_tables([table._arrow for table in tables]))

    def save(self, folder: str | Path) -> None:
        """Write the table to a new folder, which appears complete or not at all.

        Raises:
            FileExistsError: there is something of that name.
        """
        schema = SCHEMA.with_metadata({_FINGERPRINT: self.fingerprint})
        with new_folder(folder) as staged:
            with pa.ipc.new_stream(staged / _FILE_NAME, schema) as stream:
                stream.write_table(self._arrow)

    @classmethod
    def load(cls, folder: str | Path) -> AlignedTable:
        """Open a saved table, memory-mapped.

        Raises:
            FileNotFoundError: if the folder was not written by `save`.
            ValueError: if its file is damaged, or is not that of an aligned table.
        """
        path = Path(folder, _FILE_NAME)
        if not path.is_file():
            raise FileNotFoundError(f"{folder} was not written by AlignedTable.save")
        try:
            dataset = Dataset.from_file(str(path))
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path}: damaged Arrow file: {error}") from error
        if dataset.column_names != SCHEMA.names:
            raise ValueError(f"{path} has the columns {dataset.column_names}, not {SCHEMA.names}")
        with pa.ipc.open_stream(str(path)) as stream:
            metadata = stream.schema.metadata or {}
        # Read from the file: computing it would read all texts.
        fingerprint = metadata.get(_FINGERPRINT.encode())
        return cls(dataset, fingerprint.decode() if fingerprint else None, Path(folder))

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
        return self._codes("group_id")[1].astype(np.int64)

    @cached_property
    def passage_codes(self) -> np.ndarray:
        """Number of each row's passage id, dense from 0, -1 without a passage, int64 (n,)."""
        return self._codes("passage_id")[1].astype(np.int64)

    def query_ids(self) -> np.ndarray:
        """Return ids of the queries' texts, equal for equal ones; see `query_text_ids`, int64 (n,).

        They take no account of the language, as those of passages do not.
        """
        return query_text_ids(self._arrow.column("query"))

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
        return self._texts("text", rows, taken.append_column("text", _with_title(taken)))

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
        return table.column("query") if side == "query" else _with_title(table)

    def negative_column(self) -> pa.ListArray:
        """Return the hard negatives of all rows; null or empty where there are none."""
        return self._arrow.column("negatives").combine_chunks()

    @cached_property
    def _languages(self) -> tuple[tuple[str, ...], np.ndarray]:
        return self._sorted_codes("lang")

    @cached_property
    def _sources(self) -> tuple[tuple[str, ...], np.ndarray]:
        return self._sorted_codes("source")

    def _codes(self, column: str) -> tuple[pa.Array, np.ndarray]:
        """Return distinct values in order of appearance and each row's number, -1 for null."""
        encoded = self._arrow.column(column).dictionary_encode().combine_chunks()
        return encoded.dictionary, encoded.indices.fill_null(-1).to_numpy()

    def _sorted_codes(self, column: str) -> tuple[tuple[str, ...], np.ndarray]:
        dictionary, codes = self._codes(column)
        names = dictionary.to_pylist()
        rank = {name: position for position, name in enumerate(sorted(names))}
        return tuple(rank), np.array([rank[name] for name in names], dtype=np.int32)[codes]

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


def _with_title(table: pa.Table) -> pa.ChunkedArray:
    titled = pc.binary_join_element_wise(table["title"], table["passage"], " ")
    return pc.coalesce(titled, table["passage"])


def _one_chunk(table: pa.Table) -> pa.Table:
    """Merge the chunks of a table if it fits into one: taking rows is then 20 times faster."""
    if table.nbytes > _LARGEST_CHUNK_BYTES or all(c.num_chunks == 1 for c in table.columns):
        return table
    return table.combine_chunks()
