"""Ids of a corpus that occur twice, found with 8 bytes a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hybrid_fast.data.text_ids import text_ids


class SeenIds:
    """The ids that were seen, as sorted digests of 63 bits.

    Runs of digests are merged as in a log-structured tree: each is more than twice as long as the
    next, so there are few. Memory is 8 bytes an id, and as much again while runs are merged.
    """

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.int64]] = []

    def add(self, ids: Sequence[str]) -> list[int]:
        """Add ids; return the positions of those that seem to occur earlier.

        Digests may be equal by chance, 5e-6 of any two of ten million: compare the ids.
        """
        digests = text_ids(pa.array(ids, pa.large_string()))
        ordered, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
        repeated = np.ones(len(digests), bool)
        repeated[first] = False
        known = np.zeros(len(ordered), bool)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, ordered), len(run) - 1)
            known |= run[places] == ordered
        self._append(ordered)
        return np.flatnonzero(repeated | known[inverse]).tolist()

    def _append(self, run: npt.NDArray[np.int64]) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")  # which merges sorted runs
        self._runs.append(run)
