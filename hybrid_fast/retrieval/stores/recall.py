"""Recall of a search against an exact one, of queries or of vectors of the store itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RECALL_DEPTH = 10
RECALL_QUERIES = 256
# Hits of the exact search that are needed, so that those that tie with the last are among them.
TRUTH_DEPTH = 4 * RECALL_DEPTH
# Scores that are equal but for the order of additions.
_SAME_SCORE = 1e-6


def mean_recall(
    found: Sequence[Any], true: Sequence[Any], scores: np.ndarray, *, of_rows: bool
) -> float:
    """Return recall@10.

    Args:
        found: the first 10 hits of each query, as ids or rows; 11 of rows.
        true: the first `TRUTH_DEPTH` hits of each by exact search, fewer if there are no more.
        scores: of these, float32 (n, m) with m as many columns or more.
        of_rows: whether queries are rows of the store, whose nearest hit is left out: they
            themselves.
    """
    each_query = zip(found, true, scores, strict=True)
    return float(np.mean([_share(*each, int(of_rows)) for each in each_query]))


def _share(found: Sequence[Any], true: Sequence[Any], scores: np.ndarray, own: int) -> float:
    """Return the share of true hits that were found; rows that tie with the last one count too.

    Args:
        found: hits.
        true: hits.
        scores: of the true ones.
        own: true hits at the head that are left out.
    """
    asked = min(RECALL_DEPTH, len(true) - own)
    counting = int((scores[: len(true)] >= scores[asked + own - 1] - _SAME_SCORE).sum())
    number = len(set(found) & set(true[:counting])) - len(set(found) & set(true[:own]))
    return min(number, asked) / asked
