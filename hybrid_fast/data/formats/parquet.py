"""Rows of Parquet files, with damage named by row group and column."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_fast.data.formats.lines import check_file, plain_name, read_bytes

_ROWS = 1024
_BUFFER = 2**20  # bytes of a column that are read at once; else all of a row group are
# A damaged page ends in any of these: OSError from decompression, UnicodeDecodeError or
# OverflowError from values, MemoryError from a length that was changed.
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)


def iter_parquet_rows(
    path: Path, choose: Callable[[Sequence[str]], list[str]] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, a thousand of them in memory at a time.

    Args:
        path: the file.
        choose: returns which of the columns to read; default all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no Parquet file or damaged, with row group and column.
    """
    try:
        is_plain = plain_name(path) == check_file(path).name
        source = path if is_plain else io.BytesIO(read_bytes(path))
        file = pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)
        names = file.schema_arrow.names
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise ValueError(f"{path}: damaged Parquet file: {error}") from error
    if choose is not None:
        names = choose(names)
    with file:
        for group in range(file.num_row_groups):
            try:
                for batch in file.iter_batches(_ROWS, row_groups=[group], columns=names):
                    yield from batch.to_pylist()
            except _DAMAGE as error:
                column = _damaged_column(file, group, names)
                raise ValueError(
                    f"{path}: damaged Parquet file: row group {group}{column}: {error}"
                ) from error


def _damaged_column(file: pq.ParquetFile, group: int, names: Sequence[str]) -> str:
    """Return ", column 'name'" for the first column that cannot be read alone, "" if all can."""
    for name in names:
        try:
            file.read_row_group(group, columns=[name]).to_pylist()
        except _DAMAGE:
            return f", column {name!r}"
    return ""
