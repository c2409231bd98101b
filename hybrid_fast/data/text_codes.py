"""Integer codes of the distinct texts of a column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def text_codes(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """Return distinct texts, in order of appearance, and each row's position among them.

    Positions are -1 for null, int32 (n,).
    """
    texts = column.cast(pa.large_string())  # ids may be longer than 2 GiB
    encoded = texts.dictionary_encode().combine_chunks()
    return encoded.dictionary, encoded.indices.fill_null(-1).to_numpy()


def sorted_text_codes(column: pa.ChunkedArray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return distinct texts, sorted, and each row's position among them, int32 (n,)."""
    dictionary, codes = text_codes(column)
    names = dictionary.to_pylist()
    rank = {name: position for position, name in enumerate(sorted(names))}
    return tuple(rank), np.array([rank[name] for name in names], dtype=np.int32)[codes]
