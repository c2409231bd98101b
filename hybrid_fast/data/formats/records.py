"""Records of tabular files and hub data sets, each with its line or row number.

Records of JSONL and Parquet are mappings; those of CSV and TSV are mappings by the header, or lists
if columns are given by position.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset

from hybrid_fast.common.hub import fetching
from hybrid_fast.data.formats.files import iter_lines, parse_json

Record = dict[str, Any] | list[str]
LOCAL_DATA = (
    "a local file (.jsonl, .csv, .tsv, .parquet, SQuAD-shaped .json, .txt) or a folder of "
    "such files"
)
RecordReader = Callable[[Path, bool], Iterator[tuple[int, Record]]]


def read_jsonl(path: Path, header: bool) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and objects of a JSON Lines file; blank lines are skipped."""
    for number, line in iter_lines(path):
        if line and not line.isspace():
            record = parse_json(line, path, number)
            if not isinstance(record, dict):
                raise ValueError(f"{path}:{number}: must be a JSON object, got {line[:40]!r}")
            yield number, record


def read_tsv(path: Path, header: bool) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and rows of a tab-separated file; quotation marks are plain text."""
    rows = ((number, line.split("\t")) for number, line in iter_lines(path))
    return _by_header(path, rows) if header else _even(path, rows)


def read_csv(path: Path, header: bool) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and rows of a comma-separated file, quoted as in RFC 4180."""
    rows = _csv_rows(path)
    return _by_header(path, rows) if header else _even(path, rows)


def read_parquet(path: Path, header: bool) -> Iterator[tuple[int, Record]]:
    """Yield row numbers from 1 and the rows of a Parquet file."""
    try:
        batches = pq.ParquetFile(path).iter_batches(batch_size=1024)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from enumerate(rows, 1)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: damaged Parquet file: {error}") from error


def read_hub_records(
    name: str, config: str | None, split: str, instead: str = LOCAL_DATA
) -> Iterator[tuple[int, Record]]:
    """Yield row numbers from 1 and the rows of a data set that `datasets.load_dataset` finds.

    Args:
        name: of the data set on the hub, or a folder.
        config: its configuration.
        split: its split.
        instead: what can be given without network, for the message.

    Raises:
        FileNotFoundError: if there is no such data set, or the hub cannot be reached.
    """
    with fetching(f"{name!r} is not a data file, and a data set of that name", instead):
        dataset = load_dataset(name, config, split=split)
    batches = dataset.with_format("arrow").iter(batch_size=1024)
    return enumerate((row for batch in batches for row in batch.to_pylist()), 1)


RECORD_READERS: dict[str, RecordReader] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
}


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line + "\n" for _, line in iter_lines(path)), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num}: malformed CSV: {error}") from error


def _by_header(
    path: Path, rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    names: list[str] = []
    for number, row in _even(path, rows):
        if not names:
            names = row
            if len(set(names)) < len(names):
                raise ValueError(f"{path}:{number}: the header names a column twice: {names}")
        else:
            yield number, dict(zip(names, row, strict=True))


def _even(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Check that every row has as many fields as the first."""
    width = 0
    for number, row in rows:
        width = width or len(row)
        if len(row) != width:
            raise ValueError(f"{path}:{number}: has {len(row)} fields, the first line has {width}")
        yield number, row
