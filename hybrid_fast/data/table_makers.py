"""Data that is no aligned table yet: as an Arrow table, or the call that loads it, for messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import DatasetDict, IterableDataset, IterableDatasetDict


def as_arrow(value: Any, needed: str) -> pa.Table:
    """Return an Arrow table of what has the interface of Arrow streams, and is no single column.

    Raises:
        TypeError: for any other value, with what is needed and what makes a table of it.
    """
    if not isinstance(value, pa.ChunkedArray) and hasattr(value, "__arrow_c_stream__"):
        with suppress(pa.ArrowInvalid):  # of a series
            return pa.table(value)
    raise TypeError(f"needs {needed}, got {type(value).__name__}; {maker_of(value)}")


def maker_of(value: object) -> str:
    """Tell, for messages, which call makes a table of a value."""
    return f"{loading_call(value)} makes one"


def loading_call(value: object) -> str:
    """Return the call of `load_table` that makes a table of a value, or of what it takes."""
    if isinstance(value, str | Path):
        return f"load_table({str(value)!r})"
    if isinstance(value, DatasetDict | IterableDatasetDict):
        return f"load_table(splits, split={next(iter(value), 'train')!r})"
    if isinstance(value, IterableDataset):
        return "load_table(stream, max_rows=...)"
    if isinstance(value, Mapping):
        return "load_table(columns)"
    holds_data = isinstance(value, Iterable) or hasattr(value, "__arrow_c_stream__")
    is_other = isinstance(value, bytes | type)
    return "load_table(data)" if holds_data and not is_other else "load_table(path_or_data)"
