"""The hard negatives that rows have before they are mined."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_fast.data import AlignedTable
from hybrid_fast.retrieval.mining.answers import hash_texts


class Existing(NamedTuple):
    """Hard negatives of some rows, and their scores.

    Attributes:
        negatives: of each row.
        scores: of these; None where they are not known.
        codes: hashes of the negatives of all rows, int64 (m,).
        starts: where those of each row start among them, then m, int64 (n + 1,).
    """

    negatives: list[list[str]]
    scores: list[list[float | None] | None]
    codes: np.ndarray
    starts: np.ndarray

    @classmethod
    def of_rows(cls, table: AlignedTable, part: slice) -> Existing:
        """Take those of consecutive rows of a table."""
        given = table.dataset.with_format("arrow")[part.start : part.stop]
        negatives = given["negatives"]
        lengths = pc.fill_null(pc.list_value_length(negatives), 0).to_numpy()
        scores: list[list[float | None] | None] = [None] * len(given)
        if "negative_scores" in given.column_names:
            scores = given["negative_scores"].to_pylist()
        codes = hash_texts(pc.list_flatten(negatives).cast(pa.large_string()))
        starts = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
        lists = [each or [] for each in negatives.to_pylist()]
        return cls(lists, scores, codes, starts)

    @property
    def are_there(self) -> np.ndarray:
        """Whether each row has any, bool (n,)."""
        return np.diff(self.starts) > 0

    def among(self, places: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return which texts are negatives of their row, bool (n, k).

        Args:
            places: of n rows.
            codes: hashes of texts, int64 (n, k).
        """
        found = np.zeros(codes.shape, np.bool_)
        for item in np.flatnonzero(self.are_there[places]):
            start, stop = self.starts[places[item] : places[item] + 2]
            found[item] = np.isin(codes[item], self.codes[start:stop])
        return found

    def with_scores(self, place: int) -> list[float | None]:
        """Return a score for each negative of a row, None where it is not known."""
        return list(self.scores[place] or [None] * len(self.negatives[place]))


def empty(num_rows: int) -> Existing:
    """Return that of rows which have none, or whose negatives count for nothing."""
    return Existing(
        [[] for _ in range(num_rows)],
        [None] * num_rows,
        np.empty(0, np.int64),
        np.zeros(num_rows + 1, np.int64),
    )
