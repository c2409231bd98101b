"""Texts, lists of texts and flags in any Arrow type become columns of the types of our table.

Arrow has three types of texts and five of lists, each of which may be dictionary-encoded. Not all
casts between them exist, and that of list views lost rows (pyarrow 26), so lists are built from
their lengths and items. Offsets are 32 bits: a column of more is cut into chunks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LARGEST_CHUNK_BYTES = 2**31 - 1


def is_text(given: pa.DataType) -> bool:
    """Tell whether a type holds texts, encoded or not; null counts as a missing text."""
    given = _plain_type(given)
    return (
        pa.types.is_string(given)
        or pa.types.is_large_string(given)
        or pa.types.is_string_view(given)
        or pa.types.is_null(given)
    )


def is_text_list(given: pa.DataType) -> bool:
    """Tell whether a type holds lists of texts; null counts as a missing list."""
    given = _plain_type(given)
    return pa.types.is_null(given) or (_is_list(given) and is_text(given.value_type))


def is_integer(given: pa.DataType) -> bool:
    """Tell whether a type holds integers, encoded or not."""
    return pa.types.is_integer(_plain_type(given))


def is_flag(given: pa.DataType) -> bool:
    """Tell whether a type holds booleans, encoded or not; null counts as a missing one."""
    given = _plain_type(given)
    return pa.types.is_boolean(given) or pa.types.is_null(given)


def as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts or integers as `string`."""
    return _convert(column, _texts, pa.string())


def as_text_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists of texts as `list<string>`."""
    return _convert(column, _text_lists, pa.list_(pa.string()))


def as_flags(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return booleans as `bool`."""
    return _convert(column, lambda array: _decoded(array).cast(pa.bool_()), pa.bool_())


def one_chunk(table: pa.Table) -> pa.Table:
    """Merge the chunks of a table if it fits into one: taking rows is then 20 times faster."""
    if table.nbytes > _LARGEST_CHUNK_BYTES or all(c.num_chunks == 1 for c in table.columns):
        return table
    return table.combine_chunks()


def row_of_item(column: pa.ChunkedArray, position: int) -> int:
    """Return the row that holds an item of `list_flatten` of a column of lists."""
    row = 0
    for chunk in column.chunks:
        ends = _lengths(chunk).cumsum()
        if len(ends) and position < ends[-1]:
            return row + int(np.searchsorted(ends, position, side="right"))
        position -= int(ends[-1]) if len(ends) else 0
        row += len(chunk)
    raise IndexError(f"the lists hold {position} items fewer")


def row_of_invalid(column: pa.ChunkedArray) -> int | None:
    """Return the first row of a column of texts, or lists of them, whose bytes are not UTF-8.

    Arrow takes any bytes for text where they come from its own buffers, as those of Parquet do.
    """
    if _is_valid(column):
        return None
    is_list = pa.types.is_list(column.type)
    texts = pc.list_flatten(column) if is_list else column
    start, stop = 0, len(texts)
    while stop - start > 1:
        middle = (start + stop) // 2
        if _is_valid(texts.slice(start, middle - start)):
            start = middle
        else:
            stop = middle
    return row_of_item(column, start) if is_list else start


def _is_valid(column: pa.ChunkedArray) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _convert(
    column: pa.ChunkedArray, convert: Callable[[pa.Array], pa.Array], wanted: pa.DataType
) -> pa.ChunkedArray:
    if column.type == wanted:
        return column
    parts = itertools.chain.from_iterable(_fitting(_decoded(chunk)) for chunk in column.chunks)
    return pa.chunked_array([convert(part) for part in parts], wanted)


def _plain_type(given: pa.DataType) -> pa.DataType:
    """Return the type of the values, without their encoding."""
    if pa.types.is_dictionary(given) or pa.types.is_run_end_encoded(given):
        return _plain_type(given.value_type)
    return _plain_type(given.storage_type) if isinstance(given, pa.BaseExtensionType) else given


def _decoded(array: pa.Array) -> pa.Array:
    """Return values without their encoding."""
    while array.type != _plain_type(array.type):
        if pa.types.is_dictionary(array.type):
            array = _as_large(array.dictionary).take(array.indices)
        elif pa.types.is_run_end_encoded(array.type):
            array = pc.run_end_decode(array)
        else:
            array = array.storage
    return array


def _fitting(array: pa.Array) -> Iterator[pa.Array]:
    """Yield slices of an array whose texts fit 32-bit offsets."""
    if len(array) <= 1 or _num_bytes(array) <= _LARGEST_CHUNK_BYTES:
        yield array
        return
    middle = len(array) // 2
    yield from _fitting(array.slice(0, middle))
    yield from _fitting(array.slice(middle))


def _num_bytes(array: pa.Array) -> int:
    array = _decoded(array)
    if _is_list(array.type):
        return _num_bytes(array.flatten())
    if pa.types.is_null(array.type) or not is_text(array.type):
        return 0
    lengths = pc.binary_length(_as_large(array))
    return pc.sum(lengths).as_py() or 0


def _as_large(array: pa.Array) -> pa.Array:
    """Return texts with 64-bit offsets, anything else as it is."""
    of_text = pa.types.is_string(array.type) or pa.types.is_string_view(array.type)
    return array.cast(pa.large_string()) if of_text else array


def _texts(array: pa.Array) -> pa.Array:
    return _decoded(array).cast(pa.string())


def _text_lists(array: pa.Array) -> pa.Array:
    if pa.types.is_null(array.type):
        return array.cast(pa.list_(pa.string()))
    offsets = np.concatenate([np.zeros(1, np.int64), _lengths(array).cumsum()])
    return pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        _texts(array.flatten()),
        mask=array.is_null() if array.null_count else None,
    )


def _lengths(array: pa.Array) -> np.ndarray:
    """Return the number of items of each list, 0 of null, int64 (n,)."""
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return lengths.to_numpy(zero_copy_only=False).astype(np.int64)


def _is_list(given: pa.DataType) -> bool:
    return (
        pa.types.is_list(given)
        or pa.types.is_large_list(given)
        or pa.types.is_fixed_size_list(given)
        or pa.types.is_list_view(given)
        or pa.types.is_large_list_view(given)
    )
