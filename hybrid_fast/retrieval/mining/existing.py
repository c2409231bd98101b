"""The hard negatives that rows have before they are mined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hybrid_fast.data import AlignedTable
from hybrid_fast.retrieval.mining.answers import hash_texts

Scores = list[float | None]


@dataclass(frozen=True)
class ExistingNegatives:
    """Hard negatives of n rows.

    Attributes:
        negatives: of each row.
        scores: of these; None where one is not known.
        codes: hashes of the negatives of each row.
    """

    negatives: list[list[str]]
    scores: list[Scores]
    codes: list[np.ndarray]

    @classmethod
    def of_rows(cls, table: AlignedTable, rows: np.ndarray) -> ExistingNegatives:
        """Take those of some rows of a table."""
        negatives = [each or [] for each in table.negatives(rows)]
        known: list[Scores | None] = [None] * len(rows)
        if "negative_scores" in table.dataset.column_names:
            known = table.dataset.select_columns("negative_scores")[rows]["negative_scores"]
        scores = [
            each or list[float | None]([None] * len(texts))
            for texts, each in zip(negatives, known, strict=True)
        ]
        flat = pa.array([text for texts in negatives for text in texts], pa.large_string())
        ends = np.cumsum([len(texts) for texts in negatives])
        return cls(negatives, scores, np.split(hash_texts(flat), ends[:-1]))

    def among(self, items: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Return which texts are negatives of their row already, bool (m, k).

        Args:
            items: of the rows, (m,).
            codes: hashes of texts, int64 (m, k).
        """
        found = np.zeros(codes.shape, np.bool_)
        for place, item in enumerate(items):
            if len(self.codes[item]):
                found[place] = np.isin(codes[place], self.codes[item])
        return found
