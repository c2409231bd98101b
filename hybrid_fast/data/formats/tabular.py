"""JSONL, CSV, TSV, Parquet and hub data sets: one item per record, with a mapping of columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import Item, OnEmpty
from hybrid_fast.data.formats.mapping import Columns, uses_positions
from hybrid_fast.data.formats.records import RECORD_READERS, read_hub_records
from hybrid_fast.data.formats.wide import WideMapper, plain_columns


def read_tabular(
    files: Sequence[SourceFile],
    *,
    format: str,
    columns: Columns | None = None,
    group_pattern: str | None = None,
    on_empty: OnEmpty = "error",
) -> Iterator[Item]:
    """Yield the items of JSONL, CSV, TSV or Parquet files.

    Args:
        files: one file per language, or one for all.
        format: "jsonl", "csv", "tsv" or "parquet".
        columns: {our column: theirs}. Theirs is a name, a dotted path into nested values
            ("answers.text.0"), or a position from 0 in a file without header. For group_id also
            "@line" (line n of each file is a translation of line n of the others) or "@row" (each
            row is its own group; the default for a single file). Texts may be given by language,
            {"query": {"en": "english", "de": "german"}}, or be a field that holds texts by language
            (translation: {"en": ..., "de": ...}): see `wide`. Default: columns with our names.
        group_pattern: regular expression whose first group is the group id within that column.
        on_empty: what to do with a row whose query or passage is blank: "error" or "skip".

    Raises:
        ValueError: for bad input, with file, line and field.
    """
    positions = {uses_positions(each) for each in plain_columns(columns) if each}
    if len(positions) > 1:
        raise ValueError(f"columns must be all names or all positions, got {columns}")
    header = True not in positions
    num_records: dict[str, int] = {}
    for file in files:
        mapper = WideMapper(file, columns=columns, group_pattern=group_pattern, on_empty=on_empty)
        yield from mapper.items(RECORD_READERS[format](file.path, header))
        num_records[str(file.path)] = mapper.num_records
    if mapper.group_column == "@line" and len(set(num_records.values())) > 1:
        raise ValueError(f"the files are not aligned; their numbers of rows differ: {num_records}")


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
    if any(uses_positions(each) for each in plain_columns(columns)):
        raise ValueError(f"a data set of the hub has named columns, got {dict(columns or {})}")
    origin = SourceFile(Path(name), lang, f"{name}:{config}:{split}")
    mapper = WideMapper(origin, columns=columns, group_pattern=group_pattern, on_empty=on_empty)
    yield from mapper.items(read_hub_records(name, config, split))
