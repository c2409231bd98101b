"""Records of tabular files and hub data sets, each with its line or row number.

Records of JSON and Parquet are mappings; those of CSV and TSV are mappings by the header, or lists
if columns are given by position.
"""

from __future__ import annotations

import csv
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset, load_dataset

from hybrid_fast.common.hub import fetching
from hybrid_fast.data.formats.json_text import iter_json_records
from hybrid_fast.data.formats.lines import iter_lines
from hybrid_fast.data.formats.parquet import iter_parquet_rows
from hybrid_fast.data.formats.saved_datasets import is_saved, only_split, open_saved, take_split
from hybrid_fast.data.formats.tolerance import EMPTY_LINES, Tolerance

Record = dict[str, Any] | list[str]
Rows = Iterator[tuple[int, list[str]]]
LOCAL_DATA = (
    "a local file (.jsonl, .json, .csv, .tsv, .parquet, .txt, plain or compressed), or a folder of "
    "such files"
)
RecordReader = Callable[[Path, bool, Tolerance], Iterator[tuple[int, Record]]]
_CELL_LIMIT = threading.Lock()


def read_json_records(
    path: Path, header: bool, tolerance: Tolerance
) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and objects of a JSON file: one a line, an array, or {"data": [...]}."""
    return iter_json_records(path, tolerance)


def read_tsv(path: Path, header: bool, tolerance: Tolerance) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and rows of a tab-separated file; quotation marks are plain text."""
    rows = ((number, line.split("\t")) for number, line in iter_lines(path))
    even = _even(path, _note_quotes(path, _without_blank(path, rows, tolerance), tolerance))
    return _by_header(path, even, "tsv") if header else even


def read_csv(path: Path, header: bool, tolerance: Tolerance) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and rows of a comma-separated file, quoted as in RFC 4180."""
    even = _even(path, _without_blank(path, _csv_rows(path), tolerance))
    return _by_header(path, even, "csv") if header else even


def read_parquet(path: Path, header: bool, tolerance: Tolerance) -> Iterator[tuple[int, Record]]:
    """Yield row numbers from 1 and the rows of a Parquet file."""
    return enumerate(iter_parquet_rows(path), 1)


def read_hub_records(
    name: str, config: str | None, split: str, instead: str = LOCAL_DATA
) -> Iterator[tuple[int, Record]]:
    """Yield row numbers from 1 and the rows of a data set that the `datasets` library loads.

    Args:
        name: of the data set on the hub, or a folder of files or of `save_to_disk`.
        config: its configuration.
        split: its split.
        instead: what can be given without network, for the message.

    Raises:
        FileNotFoundError: if there is no such data set, or the hub cannot be reached.
        ValueError: if it has no such configuration or split, or cannot be read.
    """
    if is_saved(Path(name)):
        return dataset_records(open_saved(Path(name), config, split))
    with _loading(name, instead):
        dataset = load_dataset(name, config, split=split)
    return dataset_records(dataset)


def stream_hub_records(
    name: str,
    config: str | None,
    split: str | None,
    choose: Callable[[Sequence[str]], list[str]],
    instead: str,
) -> Iterator[tuple[int, Record]]:
    """Yield row numbers from 1 and the rows of a data set as `read_hub_records`, but as a stream.

    Nothing of it is kept on the disk. What `save_to_disk` wrote is mapped.

    Args:
        name: as of `read_hub_records`.
        config: its configuration.
        split: its split; default the only one. What is saved also has slices: "train[:1000]".
        choose: returns which of the columns to read.
        instead: what can be given without network, for the message.

    Raises:
        FileNotFoundError, ValueError: as `read_hub_records`.
    """
    if is_saved(Path(name)):
        yield from dataset_records(open_saved(Path(name), config, split), choose)
        return
    with _loading(name, instead):
        splits = load_dataset(name, config, streaming=True)
        if split is not None and split not in splits and "[" in split:
            raise ValueError(f"a stream has no slices, got split={split!r}; name a whole split")
        stream = take_split(splits, split or only_split(splits, name), name)
        yield from dataset_records(stream, choose)


@contextmanager
def _loading(name: str, instead: str) -> Iterator[None]:
    """Raise the errors of `datasets` as FileNotFoundError or ValueError that say what to do."""
    from datasets.exceptions import DatasetGenerationError

    with fetching(f"{name!r} is not a data file, and a data set of that name", instead):
        try:
            yield
        except (ValueError, DatasetGenerationError) as error:
            cause = error.__cause__ or error
            is_folder = Path(name).is_dir()
            hint = f"; a pattern reads its files one by one: '{name}/*.jsonl'" if is_folder else ""
            raise ValueError(f"data set {name!r} cannot be read: {cause}{hint}") from error


def dataset_records(
    dataset: Dataset | IterableDataset,
    choose: Callable[[Sequence[str]], list[str]] | None = None,
) -> Iterator[tuple[int, Record]]:
    """Yield row numbers from 1 and the rows of a data set, some at a time.

    Args:
        dataset: the data set, or a stream.
        choose: returns which of the columns to read; default all.
    """
    batches = dataset.with_format("arrow").iter(batch_size=1024)
    if choose is not None:
        batches = (batch.select(choose(batch.column_names)) for batch in batches)
    return enumerate((row for batch in batches for row in batch.to_pylist()), 1)


RECORD_READERS: dict[str, RecordReader] = {
    "json": read_json_records,
    "jsonl": read_json_records,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
}


def _csv_rows(path: Path) -> Rows:
    reader = csv.reader((line + "\n" for _, line in iter_lines(path)), strict=True)
    try:
        while (row := _next_row(reader)) is not None:
            yield reader.line_num, row
    except csv.Error as error:
        what = str(error)
        if "new-line character" in what:  # its advice is about how a program opens the file
            what = "a carriage return outside quotation marks; lines end with \\n or \\r\\n"
        raise ValueError(f"{path}:{reader.line_num}: malformed CSV: {what}") from error


def _next_row(reader: Iterator[list[str]]) -> list[str] | None:
    """Return the next row, None at the end, with cells of any length.

    The limit of the csv module holds for the whole process; others find it as they left it.
    """
    with _CELL_LIMIT:
        limit = csv.field_size_limit(sys.maxsize)
        try:
            return next(reader, None)
        finally:
            csv.field_size_limit(limit)


def _without_blank(path: Path, rows: Rows, tolerance: Tolerance) -> Rows:
    """Leave out empty lines, but for those of a file of one column, where a text may be empty."""
    width = 0
    for number, row in rows:
        if row in ([], [""]) and width != 1:
            tolerance.allow(EMPTY_LINES, f"{path}:{number}")
            continue
        width = width or len(row)
        yield number, row or [""]


def _note_quotes(path: Path, rows: Rows, tolerance: Tolerance) -> Rows:
    """Count the cells that look quoted as in CSV: doubled marks within a pair of marks."""
    kind = "cells that look quoted as in CSV, taken as they stand (format='csv' is for commas)"
    for number, row in rows:
        for cell in row:
            if '""' in cell[1:-1] and cell[0] == cell[-1] == '"':
                tolerance.allow(kind, f"{path}:{number}")
        yield number, row


def _check_separator(path: Path, number: int, names: list[str], format: str) -> None:
    """Raise a ValueError if the only name of a header holds another separator."""
    others = {",": "csv", "\t": "tsv", ";": None}
    for separator, its_format in others.items():
        if len(names) == 1 and separator in names[0] and its_format != format:
            remedy = f"give format={its_format!r}" if its_format else "save it with commas or tabs"
            raise ValueError(
                f"{path}:{number}: the fields seem to be separated by {separator!r}; {remedy}"
            )


def _by_header(path: Path, rows: Rows, format: str) -> Iterator[tuple[int, Record]]:
    names: list[str] = []
    for number, row in rows:
        if not names:
            _check_separator(path, number, row, format)
            names = [name.strip() for name in row]
            if len(set(names)) < len(names):
                raise ValueError(f"{path}:{number}: the header names a column twice: {names}")
        else:
            yield number, dict(zip(names, row, strict=True))


def _even(path: Path, rows: Rows) -> Rows:
    """Check that every row has as many fields as the first."""
    width = 0
    for number, row in rows:
        width = width or len(row)
        if len(row) != width:
            raise ValueError(f"{path}:{number}: has {len(row)} fields, the first line has {width}")
        yield number, row
