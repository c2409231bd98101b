"""Columns as Python has them: sequences of any library, iterators, or one value for all rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

Values: TypeAlias = Sequence[Any] | np.ndarray | pa.Array | pa.ChunkedArray


def even_columns(columns: Mapping[str, Any]) -> dict[str, Values]:
    """Return columns of equal lengths; a text, a number or None stands in all rows.

    Args:
        columns: {name: values}; values are a sequence or an iterator of Python values, or an array
            or series of NumPy, pandas, polars or Arrow.

    Raises:
        TypeError: for a column without an order, with its name.
        ValueError: for columns of different lengths, or if no column says how many rows there are.
    """
    given = {name: _values(name, values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in given.items() if values is not None}
    if given and not lengths:
        raise ValueError(
            f"no column says how many rows there are: each of {list(given)} is one value, which "
            "stands for all rows; for one row, give lists of one value, or load_table([record])"
        )
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have equal lengths, got {lengths}")
    num_rows = next(iter(lengths.values()), 0)
    return {
        name: [columns[name]] * num_rows if values is None else values
        for name, values in given.items()
    }


def _values(name: str, values: Any) -> Values | None:
    """Return the values of a column, None if it is one value for all rows."""
    if isinstance(values, Mapping | set | frozenset):
        raise TypeError(
            f"column {name!r}: needs a sequence of values, one a row, or one value for all rows, "
            f"got {type(values).__name__}"
        )
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    is_scalar = isinstance(values, str | bytes) or getattr(values, "ndim", 1) == 0
    if is_scalar or not isinstance(values, Iterable):
        return None
    if hasattr(values, "__arrow_c_stream__"):  # a series; of mixed values, where Arrow has no type
        try:
            return pa.chunked_array(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return list(values)
    return values if isinstance(values, Sequence | np.ndarray) else list(values)
