"""Scores of candidates for queries: the interface of a scorer, and dot products of embeddings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from hybrid_fast import _core
from hybrid_fast.retrieval.embeddings import check_finite, squared_norms

# Writes the scores of rows of queries, int64 (n,), into a float32 array (n, num_candidates).
ScoreRows = Callable[[np.ndarray, np.ndarray], None]
# Memory for the scores of one tile, some queries against all candidates.
TILE_BYTES = 32 * 2**20


def dot_products(queries: np.ndarray, candidates: np.ndarray) -> ScoreRows:
    """Score by the dot product of embeddings, to the bit as exact search does.

    Args:
        queries: float32 (num_queries, D).
        candidates: float32 (num_candidates, D).

    Raises:
        ValueError: if a row holds NaN or infinity, or a score could overflow float32.
    """
    check_magnitude(queries, candidates)

    def score_rows(rows: np.ndarray, scores: np.ndarray) -> None:
        multiply(queries[rows], candidates, scores)

    return score_rows


def multiply(queries: np.ndarray, candidates: np.ndarray, scores: np.ndarray) -> None:
    """Write the inner products of queries, (n, D), and candidates, (m, D), to scores (n, m)."""
    _core.multiply_float(
        queries, candidates.T, scores, add=False, num_threads=torch.get_num_threads()
    )


def refuse_nan(score_rows: ScoreRows, allow_infinity: bool = True) -> ScoreRows:
    """Return the scorer with a ValueError that names the first score that cannot be used.

    Args:
        score_rows: a scorer.
        allow_infinity: whether a score may be plus infinity; minus infinity always may.
    """

    def checked(rows: np.ndarray, scores: np.ndarray) -> None:
        score_rows(rows, scores)
        # NaN is not below infinity either.
        bad = np.isnan(scores) if allow_infinity else ~(scores < np.inf)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            found = "NaN" if np.isnan(scores[row, column]) else "infinite"
            raise ValueError(
                f"the score of query row {rows[row]} and candidate row {column} is {found}; every "
                "candidate needs a score"
            )

    return checked


def check_magnitude(queries: np.ndarray, candidates: np.ndarray) -> None:
    """Raise a ValueError unless all scores, and sums within them, are numbers of float32.

    Every entry must be finite, and the Cauchy-Schwarz bound within the range of float32.
    """
    check_finite(queries, "queries")
    check_finite(candidates, "candidates")
    bound = np.sqrt(squared_norms(queries).max() * squared_norms(candidates).max())
    if bound > np.finfo(np.float32).max / 2:
        raise ValueError(
            f"scores could reach {bound:.3g}, beyond float32; normalise the embeddings to norm 1"
        )
