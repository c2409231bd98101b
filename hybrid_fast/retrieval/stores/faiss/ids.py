"""Rows by id, in 16 bytes a row: hashes of ids in sorted runs, beside the row of each.

A hash only names candidates; whoever asks compares their ids. A new run is merged with those before
it that are not much longer, so that there are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


class IdTable:
    """Hashes of ids and their rows; an id may have several, the older ones deleted.

    Attributes:
        runs: uint64 (2, n) each: sorted hashes, and rows.
    """

    def __init__(self, run: np.ndarray | None = None) -> None:
        self.runs = [] if run is None or not run.size else [run]

    def add(self, hashes: np.ndarray, first_row: int) -> None:
        """Add hashes, uint64 (n,), of rows from `first_row` on."""
        rows = np.arange(first_row, first_row + len(hashes), dtype=np.uint64)
        self.runs.append(_sorted(np.stack([hashes, rows])))
        while len(self.runs) > 1 and self.runs[-2].shape[1] <= 2 * self.runs[-1].shape[1]:
            self.runs[-2:] = [_sorted(np.concatenate(self.runs[-2:], axis=1))]

    def candidates(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that have some hashes.

        Args:
            hashes: uint64 (n,).

        Returns:
            Positions in `hashes` and rows, int64 (m,) both.
        """
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for sorted_hashes, rows in self.runs:
            first, end = (
                np.searchsorted(sorted_hashes, hashes, side) for side in ("left", "right")
            )
            counts = end - first
            positions = np.repeat(np.arange(len(hashes)), counts)
            inner = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
            found.append((positions, rows[first[positions] + inner].astype(np.int64)))
        positions, rows = (np.concatenate(column) for column in zip(*found, strict=True))
        return positions, rows

    def merged(self) -> np.ndarray:
        """Return all as one run, uint64 (2, n)."""
        if len(self.runs) == 1:
            return self.runs[0]
        return _sorted(np.concatenate([np.empty((2, 0), np.uint64), *self.runs], axis=1))


def hash_ids(ids: Sequence[str]) -> np.ndarray:
    """Return a hash of each id, uint64 (n,), the same everywhere; of what can be no id too."""
    encoded = (each.encode(errors="surrogatepass") for each in ids)
    data = b"".join(blake2b(each, digest_size=8).digest() for each in encoded)
    return np.frombuffer(data, "<u8")


def _sorted(run: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(run[:, np.argsort(run[0], kind="stable")])
