"""Records of data in memory: data frames, Arrow tables, data sets, streams, columns, lists.

Data frames are taken through the Arrow stream interface, so that none of their libraries is needed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from hybrid_fast.data.column_values import even_columns
from hybrid_fast.data.formats.records import Record, dataset_records
from hybrid_fast.data.formats.saved_datasets import only_split, take_split

MEMORY_NAME = "dataset"  # of the source, whatever holds the data
_ROWS = 1024  # that are taken at once, and that name data at either end
_PLAIN = {str, int, bool, type(None)}
_NO_ARROW_TYPE = (pa.ArrowException, TypeError, ValueError, OverflowError)


def is_path_like(data: object) -> bool:
    """Tell whether data is a path or a list of paths, and so not in memory."""
    if isinstance(data, list | tuple):
        return len(data) > 0 and all(isinstance(each, str | Path) for each in data)
    return isinstance(data, str | Path)


def memory_records(
    data: Any, split: str | None = None, max_rows: int | None = None
) -> tuple[str, Iterator[tuple[int, Record]]]:
    """Return a label of data in memory, and its records with their row numbers from 0.

    The ids of rows come from the label. Data that has no name of its own must not share ids with
    other data; that of equal content may, and has the same ids in every process. The first and
    last records and their number stand for the content, so what cannot be cut, such as an iterator,
    is read as a whole first.

    Args:
        data: what `load_table` takes that is no path.
        split: the split of data that has several, or a slice of it: "train[:1000]".
        max_rows: how many records are read at most; a stream must have it.

    Raises:
        TypeError: if data, or a record of it, is of no kind that holds records.
        ValueError: for a split that there is not, or one that is not named.
    """
    if _has_splits(data):
        data = take_split(data, split or only_split(data, "the data"), "the data")
    elif split is not None:
        raise ValueError(
            f"split={split!r} is for a DatasetDict; a {type(data).__name__} has no splits"
        )
    if isinstance(data, IterableDataset) and max_rows is None:
        raise ValueError(
            "a stream may have no end; give max_rows=, the number of rows to read (limit= counts "
            "groups, whose rows may lie anywhere), or Dataset.from_list(list(stream)) for all"
        )
    if isinstance(data, Mapping):
        data = even_columns(data)  # a column may be an iterator
    rest = islice(_records(data), max_rows)
    head = list(islice(rest, _ROWS))
    if len(head) < _ROWS:
        return _content_label(head), enumerate(head)
    num_rows = _num_rows(data)
    if num_rows is None:
        held = head + list(rest)
        return _content_label([*head, len(held), *held[-_ROWS:]]), enumerate(held)
    num_rows = min(num_rows, max_rows or num_rows)
    tail = _records_between(data, max(0, num_rows - _ROWS), num_rows)
    return _content_label([*head, num_rows, *tail]), enumerate(chain(head, rest))


def _content_label(content: list[Any]) -> str:
    text = json.dumps(content, default=lambda value: type(value).__name__, skipkeys=True)
    return f"{MEMORY_NAME}-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _num_rows(data: Any) -> int | None:
    """Return the number of rows of data that `_cut` can cut, None of other data."""
    if isinstance(data, Mapping):
        return len(next(iter(data.values()), ()))
    if isinstance(data, Dataset) or hasattr(data, "iloc"):
        return len(data)
    if isinstance(data, list | tuple):
        return None if any(map(_is_part, data)) else len(data)
    return len(data) if hasattr(data, "slice") and hasattr(data, "__len__") else None


def _records_between(data: Any, start: int, end: int) -> list[Record]:
    """Return some records; none if one is bad, whose row the reader will name."""
    try:
        return list(_records(_cut(data, start, end)))
    except (TypeError, ValueError):
        return []


def _cut(data: Any, start: int, end: int) -> Any:
    if isinstance(data, Mapping):
        return {name: values[start:end] for name, values in data.items()}
    if isinstance(data, Dataset):
        return data.select(range(start, end))
    if hasattr(data, "iloc"):  # of pandas
        return data.iloc[start:end]
    if isinstance(data, list | tuple):
        return data[start:end]
    return data.slice(start, end - start)  # of Arrow and polars


def _has_splits(data: Any) -> bool:
    """Tell whether data is a mapping of data sets, such as a DatasetDict."""
    if not isinstance(data, Mapping) or not data:
        return isinstance(data, DatasetDict | IterableDatasetDict)
    return all(isinstance(each, Dataset | IterableDataset) for each in data.values())


def _records(data: Any) -> Iterator[Record]:
    if isinstance(data, Dataset):
        return (record for _, record in dataset_records(data))
    if isinstance(data, IterableDataset):
        return map(_record, data.with_format(None), count())
    if isinstance(data, Mapping):
        return _of_columns(data)
    if _is_tabular(data):
        return _of_frame(data)
    if isinstance(data, io.IOBase | str | bytes | type) or not _is_iterable(data):
        raise TypeError(
            f"load_table reads a path, a list of paths, a hub name, or data in memory (a data "
            f"frame, an Arrow table, a Dataset, a list or iterator of records, a mapping of "
            f"columns), got {type(data).__name__}{_remedy(data)}"
        )
    return chain.from_iterable(
        _records(each) if _is_part(each) else [_record(each, row)] for row, each in enumerate(data)
    )


def _is_iterable(data: Any) -> bool:
    try:
        iter(data)
    except TypeError:
        return False
    return not hasattr(data, "collect")  # of a query that was not run


def _remedy(data: Any) -> str:
    if isinstance(data, io.IOBase):
        return "; give its path"
    return "; give what its collect() returns" if hasattr(data, "collect") else ""


def _is_part(data: Any) -> bool:
    """Tell whether an element of a list or iterator holds records, and is none itself."""
    return isinstance(data, Dataset) or _is_tabular(data)


def _is_tabular(data: Any) -> bool:
    if isinstance(data, pa.Array | pa.ChunkedArray) or getattr(data, "ndim", 2) == 1:
        return False  # one column
    is_pandas = hasattr(data, "to_dict") and hasattr(data, "columns")
    return is_pandas or hasattr(data, "__arrow_c_stream__") or hasattr(data, "to_batches")


def _of_frame(data: Any) -> Iterator[Record]:
    """Yield the rows of a data frame or an Arrow table; as lists if columns have no names."""
    try:
        batches = _batches(data)
    except _NO_ARROW_TYPE as error:
        if not hasattr(data, "to_dict"):
            raise TypeError(f"a {type(data).__name__} holds no columns: {error}") from error
        # A column has values of several types.
        yield from map(_record, data.to_dict("records"), count())
        return
    names = getattr(data, "columns", ())
    has_names = not len(names) or not all(isinstance(name, int) for name in names)
    for batch in batches:
        repeated = {name for name in batch.schema.names if batch.schema.names.count(name) > 1}
        if repeated:
            raise ValueError(f"{type(data).__name__}: names a column twice: {sorted(repeated)}")
        for start in range(0, len(batch), _ROWS):
            rows = batch.slice(start, _ROWS).to_pylist()
            yield from rows if has_names else ([*row.values()] for row in rows)


def _batches(data: Any) -> Iterable[pa.RecordBatch]:
    if hasattr(data, "to_batches"):
        return data.to_batches()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    return pa.Table.from_pandas(data).to_batches()


def _of_columns(columns: Mapping[str, Any]) -> Iterator[Record]:
    even = even_columns(columns)
    for row in zip(*even.values(), strict=True):
        yield {name: _plain(value) for name, value in zip(even, row, strict=True)}


def _record(value: Any, row: int) -> Record:
    """Return a record as a dict by names, or a list by positions, of plain Python values.

    Raises:
        TypeError: if it is neither.
    """
    if hasattr(value, "_asdict"):  # of a named tuple
        value = value._asdict()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif not isinstance(value, Mapping) and hasattr(value, "keys"):  # of a database
        value = {name: value[name] for name in value.keys()}
    plain = _plain(value)
    if not isinstance(plain, dict | list):
        hint = "; files are given as a list of paths" if isinstance(value, str | Path) else ""
        raise TypeError(
            f"row {row}: a record is a mapping by names, or a list or tuple by positions, got "
            f"{repr(value)[:80]} ({type(value).__name__}){hint}"
        )
    return plain


def _plain(value: Any) -> Any:
    """Return a value as JSON would hold it; NaN and other marks of a missing value are None."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    try:
        return pa.array([value], from_pandas=True)[0].as_py()
    except _NO_ARROW_TYPE:
        return value  # the checks of fields name it
