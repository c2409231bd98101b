"""Exact search for the first k candidates of every query, by the C++ core.

Order: score descending, equal scores by position. A score depends on its two vectors alone, to the
bit: not on what else is searched, nor on the number of threads; so equal vectors tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast import _core
from hybrid_fast.retrieval.scores import TILE_BYTES, check_magnitude, multiply

TILE_ROWS = 1024
# Of a search: a score and a row, and twice as many beside each other while it goes on.
BYTES_PER_HIT = 44


class Hits(NamedTuple):
    """Candidates of each query, best first: `rows` int64 (n, k), `scores` float32 (n, k)."""

    rows: np.ndarray
    scores: np.ndarray


def search(queries: np.ndarray, candidates: np.ndarray, k: int) -> Hits:
    """Return the k candidates with the highest inner products; in a tie the lower row comes first.

    Args:
        queries: float32 (num_queries, D).
        candidates: float32 (num_candidates, D).
        k: number of hits; all candidates if there are fewer.

    Raises:
        ValueError: if k is not positive, there are no candidates, dimensions differ, a row holds
            NaN or infinity, or a score could overflow float32.
    """
    _check(queries, candidates, k)
    return search_checked(queries, candidates, k)


def search_checked(queries: np.ndarray, candidates: np.ndarray, k: int) -> Hits:
    """Return what `search` does, of matrices whose shapes and numbers are known to be right.

    The check reads all candidates once more, which takes longer than to compare one query.
    """
    k = min(k, len(candidates))
    hits = Hits(np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32))
    step = min(TILE_ROWS, max(1, TILE_BYTES // (BYTES_PER_HIT * k)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        hits.scores[part], hits.rows[part] = _core.search(
            queries[part], candidates, k, num_threads=torch.get_num_threads()
        )
    return hits


def search_tiles(
    queries: np.ndarray,
    candidates: np.ndarray,
    k: int,
    *,
    document_scores: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Iterator[tuple[np.ndarray, Hits]]:
    """Yield rows of queries, int64 (n,), and their hits, a few hundred queries at a time.

    Args:
        queries: float32 (num_queries, D).
        candidates: float32 (num_candidates, D).
        k: number of hits; all if there are fewer.
        document_scores: turns scores of candidates, float32 (n, num_candidates), into scores of
            the documents whose segments they are, float32 (n, num_documents); then hits are
            documents.

    Raises:
        ValueError: as `search`.
    """
    _check(queries, candidates, k)
    step = TILE_ROWS
    if document_scores is not None:
        step = min(step, max(1, TILE_BYTES // (4 * len(candidates))))
    starts = range(0, len(queries), step)
    for start in tqdm(starts, desc="search", unit="tile", delay=2, disable=None, leave=False):
        tile = queries[start : start + step]
        rows = np.arange(start, start + len(tile))
        if document_scores is None:
            yield rows, search(tile, candidates, k)
        else:
            scores = np.empty((len(tile), len(candidates)), np.float32)
            multiply(tile, candidates, scores)
            yield rows, _best(document_scores(scores), k)


def _best(scores: np.ndarray, k: int) -> Hits:
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Hits(rows, np.take_along_axis(scores, rows, axis=1))


def _check(queries: np.ndarray, candidates: np.ndarray, k: int) -> None:
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    if queries.ndim != 2 or candidates.ndim != 2 or queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"queries have shape {queries.shape} and candidates {candidates.shape}; two matrices "
            "(n, D) with the same D are needed"
        )
    if not len(candidates):
        raise ValueError("there are no candidates to search")
    if len(queries):
        check_magnitude(queries, candidates)
