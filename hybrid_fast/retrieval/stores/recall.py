"""Recall of a search against an exact one, with vectors of the store itself as queries."""

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


def mean_recall(found: Sequence[Any], true: Sequence[Any], scores: np.ndarray) -> float:
    """Return recall@10, the nearest hit of each query left out: the query itself.

    Args:
        found: the first 11 hits of each query, as ids or rows.
        true: the first `TRUTH_DEPTH` hits of each by exact search, fewer if there are no more.
        scores: of these, float32 (n, m) with m as many columns or more.
    """
    return float(np.mean([_share(*each) for each in zip(found, true, scores, strict=True)]))


def _share(found: Sequence[Any], true: Sequence[Any], scores: np.ndarray) -> float:
    """Return the share of true hits that were found; rows that tie with the last one count too."""
    asked = min(RECALL_DEPTH, len(true) - 1)
    counting = int((scores[: len(true)] >= scores[asked] - _SAME_SCORE).sum())
    number = len(set(found) & set(true[:counting])) - (true[0] in found)
    return min(number, asked) / asked
