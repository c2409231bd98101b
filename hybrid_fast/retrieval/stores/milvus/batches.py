"""Rows and ids in messages that a server of Milvus takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hybrid_fast.retrieval.stores.milvus.collections import MAX_BYTES

# Servers take messages of 64 MiB; smaller ones come in time on slow lines.
MESSAGE_BYTES = 8 << 20
IDS_AT_A_TIME = 500


def text_sizes(
    ids: Sequence[str], languages: Sequence[str], texts: Sequence[str | None]
) -> np.ndarray:
    """Return the bytes of the texts of each row, int64 (n,).

    Raises:
        ValueError: one is longer than Milvus allows.
    """
    sizes = np.empty((len(ids), 3), np.int64)
    for row, values in enumerate(zip(ids, languages, texts, strict=True)):
        sizes[row] = [0 if value is None else len(value.encode()) for value in values]
    for name, column in zip(("id", "language", "text"), sizes.T, strict=True):
        row = int(np.argmax(column)) if len(ids) else 0
        if len(ids) and column[row] > MAX_BYTES:
            where = f"{ids[row]!r}" if name != "id" else f"{ids[row][:60]!r}..."
            advice = (
                "; keep texts in a file, and search with --texts FILE" if name == "text" else ""
            )
            raise ValueError(
                f"the {name} of {where} has {column[row]} bytes in UTF-8; Milvus keeps at most "
                f"{MAX_BYTES}{advice}"
            )
    total: np.ndarray = sizes.sum(axis=1)
    return total


def message_ranges(sizes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the first row and the end of batches of at most `MESSAGE_BYTES`, or of one row."""
    start, held = 0, 0
    for row, size in enumerate(sizes.tolist()):
        if row > start and held + size > MESSAGE_BYTES:
            yield start, row
            start, held = row, 0
        held += size
    if len(sizes):
        yield start, len(sizes)


def id_parts(ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield different ids, some at a time."""
    different = list(dict.fromkeys(ids))
    for start in range(0, len(different), IDS_AT_A_TIME):
        yield different[start : start + IDS_AT_A_TIME]
