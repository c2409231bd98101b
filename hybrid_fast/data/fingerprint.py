"""The fingerprint of a complete table: what is made of its rows is found again by it."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def content_fingerprint(table: pa.Table) -> str:
    """Return 32 hexadecimal digits that depend on the values alone, not on the chunks."""
    digest = hashlib.blake2b(digest_size=16)
    for name in table.column_names:
        digest.update(name.encode())
        _digest_column(digest, table.column(name))
    return digest.hexdigest()


def _digest_column(digest: hashlib.blake2b, column: pa.ChunkedArray) -> None:
    if pa.types.is_boolean(column.type):
        digest.update(pc.fill_null(column.cast(pa.int8()), -1).to_numpy().tobytes())
        return
    if pa.types.is_floating(column.type):
        digest.update(pc.fill_null(column, float("nan")).to_numpy().astype("<f4").tobytes())
        return
    if pa.types.is_list(column.type):
        lengths = pc.list_value_length(column)
        _digest_column(digest, pc.list_flatten(column))
    else:
        lengths = pc.binary_length(column)
        for chunk in column.chunks:
            digest.update(_utf8_bytes(chunk.drop_null()))
    digest.update(pc.fill_null(lengths, -1).to_numpy().astype("<i4").tobytes())


def _utf8_bytes(texts: pa.StringArray) -> memoryview:
    """Return the bytes of all texts, concatenated, without a copy."""
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return memoryview(b"")
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(data)[ends[0] : ends[-1]]
