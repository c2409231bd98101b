"""Items of tabular files, and of data sets that the `datasets` library loads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import Item, OnEmpty
from hybrid_fast.data.formats.mapping import Columns, RecordMapper, uses_positions
from hybrid_fast.data.formats.records import RECORD_READERS, read_hub_records
from hybrid_fast.data.formats.tolerance import reported


def read_tabular(
    files: Sequence[SourceFile],
    *,
    format: str,
    columns: Columns | None = None,
    group_pattern: str | None = None,
    on_empty: OnEmpty = "error",
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
            one is none. For group_id also "@line" (line n of each file is a translation of line n
            of the others) or "@row" (each row is its own group; the default for a single file).
            Default: columns with our names.
        group_pattern: regular expression whose first group is the group id within that column.
        on_empty: what to do with a blank text: "error", or "skip": leave out the row if it is its
            query or passage, or the hard negative.
        strict: empty lines of CSV and TSV are errors, in place of a warning with their number.

    Raises:
        ValueError: for bad input, with file, line and field.
    """
    header = not uses_positions(columns)
    num_records: dict[str, dict[str, int]] = defaultdict(dict)
    for file in files:
        mapper = RecordMapper(file, columns=columns, group_pattern=group_pattern, on_empty=on_empty)
        with reported(file.path, strict) as tolerance:
            yield from mapper.items(RECORD_READERS[format](file.path, header, tolerance))
        if mapper.group_column == "@line":
            num_records[file.label][str(file.path)] = mapper.num_records
    for of_label in num_records.values():
        if len(set(of_label.values())) > 1:
            raise ValueError(f"the files are not aligned; their numbers of rows differ: {of_label}")


def read_hub(
    name: str,
    lang: str | None,
    *,
    columns: Columns | None = None,
    config: str | None = None,
    split: str = "train",
    group_pattern: str | None = None,
    on_empty: OnEmpty = "error",
) -> Iterator[Item]:
    """Yield the items of a data set that `datasets.load_dataset` finds: a hub name or a folder.

    Args:
        name: the name or folder.
        lang: the language of all rows, or None if a column gives it.
        columns: as in `read_tabular`.
        config: the configuration of the data set.
        split: the split, or a slice of it: "train[:1000]".
        group_pattern: as in `read_tabular`.
        on_empty: as in `read_tabular`.

    Raises:
        FileNotFoundError: if there is no such data set, or the hub cannot be reached.
        ValueError: for bad input, with row and field.
    """
    if uses_positions(columns):
        raise ValueError(f"a data set of the hub has named columns, got {dict(columns or {})}")
    origin = SourceFile(Path(name), lang, f"{name}:{config}:{split}")
    mapper = RecordMapper(origin, columns=columns, group_pattern=group_pattern, on_empty=on_empty)
    yield from mapper.items(read_hub_records(name, config, split))
