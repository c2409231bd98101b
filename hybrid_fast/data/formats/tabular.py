"""Items of tabular files, of data sets that the `datasets` library loads, and of data in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hybrid_fast.data.columns import OnMissingTitle
from hybrid_fast.data.formats.fields import Columns
from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import Item, OnEmpty, check_count
from hybrid_fast.data.formats.mapping import uses_positions
from hybrid_fast.data.formats.memory import memory_records
from hybrid_fast.data.formats.records import RECORD_READERS, Record, read_hub_records
from hybrid_fast.data.formats.tolerance import reported
from hybrid_fast.data.formats.wide import WideMapper, plain_columns


def read_tabular(
    files: Sequence[SourceFile],
    *,
    format: str,
    columns: Columns | None = None,
    group_pattern: str | None = None,
    on_empty: OnEmpty = "error",
    on_missing_title: OnMissingTitle = "error",
    strict: bool = False,
) -> Iterator[Item]:
    """Yield the items of JSON, CSV, TSV or Parquet files.

    A JSON file holds an object a line, an array of objects, or {"data": [...]}.

    Args:
        files: one file per language, or shards of them, or one for all.
        format: "json" or "jsonl" (either holds any of these), "csv", "tsv" or "parquet".
        columns: {our column: theirs}. Theirs is a name, a dotted path into nested values
            ("answers.text.0"; a path through a list gives all: "negative_passages.text"), or a
            position from 0 in a file without header. A list of texts for query or passage makes an
            item of each, alternatives of one group. "negatives" takes a text, a list of texts, a
            list of records with a text and perhaps a title, or a list of columns; a missing or null
            one is none. "in_batch" takes true or false, in CSV and TSV as text; a missing, null or
            empty one is true. For group_id also "@line" (line n of each file is a translation of
            line n of the others) or "@row" (each row is its own group; the default for a single
            file). Texts may be given by language, {"query": {"en": "english", "de": "german"}}, or
            be in a field that tells their languages, translation: {"en": ..., "de": ...}; a record
            is then an item for each language. Default: columns with our names.
        group_pattern: regular expression whose first group is the group id within that column.
        on_empty: what to do with a blank text: "error", or "skip": leave out the row if it is its
            query or passage, or the hard negative.
        on_missing_title: what to do if passages have titles and no hard negative has, or the
            reverse, which gives the answer away: "error", "allow", or "drop" all titles.
        strict: empty lines of CSV and TSV are errors, in place of a warning with their number.

    Raises:
        ValueError: for bad input, with file, line and field.
    """
    has_header = not _check_columns(columns)
    num_records: dict[str, dict[str, int]] = defaultdict(dict)
    for file in files:
        mapper = WideMapper(
            file,
            columns=columns,
            group_pattern=group_pattern,
            on_empty=on_empty,
            on_missing_title=on_missing_title,
        )
        with reported(file.path, strict) as tolerance:
            records = RECORD_READERS[format](file.path, has_header, tolerance)
            yield from mapper.items(_numbered_apart(records))
        if mapper.group_column == "@line":
            num_records[file.label][str(file.path)] = mapper.num_records
    for of_label in num_records.values():
        if len(set(of_label.values())) > 1:
            raise ValueError(f"the files are not aligned; their numbers of rows differ: {of_label}")


def _numbered_apart(records: Iterator[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
    """Yield records with numbers that rise; several of JSON may begin on one line."""
    number = 0
    for line, record in records:
        number = max(line, number + 1)
        yield number, record


def read_hub(
    name: str,
    lang: str | None,
    *,
    columns: Columns | None = None,
    config: str | None = None,
    split: str = "train",
    group_pattern: str | None = None,
    on_empty: OnEmpty = "error",
    on_missing_title: OnMissingTitle = "error",
) -> Iterator[Item]:
    """Yield the items of a data set of the hub, or of a folder: of files, or of `save_to_disk`.

    Args:
        name: the name or folder.
        lang: the language of all rows, or None if a column gives it.
        columns: as in `read_tabular`.
        config: the configuration of the data set.
        split: the split, or a slice of it: "train[:1000]".
        group_pattern: as in `read_tabular`.
        on_empty: as in `read_tabular`.
        on_missing_title: as in `read_tabular`.

    Raises:
        FileNotFoundError: if there is no such data set, or the hub cannot be reached.
        ValueError: for bad input, with row and field.
    """
    if _check_columns(columns):
        raise ValueError(f"a data set has named columns, got {dict(columns or {})}")
    mapper = WideMapper(
        SourceFile(Path(name), lang, f"{name}:{config}:{split}"),
        columns=columns,
        group_pattern=group_pattern,
        on_empty=on_empty,
        on_missing_title=on_missing_title,
    )
    yield from mapper.items(read_hub_records(name, config, split))


def read_memory(
    data: Any,
    lang: str | None,
    *,
    columns: Columns | None = None,
    split: str | None = None,
    max_rows: int | None = None,
    group_pattern: str | None = None,
    on_empty: OnEmpty = "error",
    on_missing_title: OnMissingTitle = "error",
) -> Iterator[Item]:
    """Yield the items of data in memory.

    Args:
        data: as in `load_table`.
        lang: the language of all rows, or None if a column gives it.
        columns: as in `read_tabular`; positions are for records that are lists or tuples.
        split: the split of a DatasetDict, or a slice of it; default the only one.
        max_rows: how many rows are read at most, which a stream needs; default all.
        group_pattern: as in `read_tabular`.
        on_empty: as in `read_tabular`.
        on_missing_title: as in `read_tabular`.

    Raises:
        TypeError: for data of a kind that holds no records.
        ValueError: for bad input, with row (counted from 0) and field.
    """
    check_count("max_rows", max_rows, "rows")
    _check_columns(columns)
    label, records = memory_records(data, split, max_rows)
    mapper = WideMapper(
        SourceFile(Path(type(data).__name__), lang, label, mark=", row "),
        columns=columns,
        group_pattern=group_pattern,
        on_empty=on_empty,
        on_missing_title=on_missing_title,
    )
    yield from mapper.items(records)


def _check_columns(columns: Columns | None) -> bool:
    """Check columns, and tell whether they are positions.

    Raises:
        ValueError: for names and positions together, or a column that is none.
    """
    positions = {uses_positions(each) for each in plain_columns(columns) if each}
    if len(positions) > 1:
        raise ValueError(f"columns must be all names or all positions, got {columns}")
    return True in positions
