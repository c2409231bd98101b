"""Exact search for the first k candidates of every query, through FAISS.

Order: score descending, equal scores by position. Of candidates that share the last score FAISS
keeps arbitrary ones; where that happens, the search goes deeper until all of them are known, for
fewer queries at a time, since a model may give all candidates the same score. FAISS
computes the scores; they may differ in the last bit from those of another product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.retrieval.scores import TILE_BYTES, check_magnitude

TILE_ROWS = 1024
# A score and a row, the keys that sort them, and the negated scores.
BYTES_PER_HIT = 24


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
    import faiss  # not needed to train, and brings an OpenMP runtime of its own

    k = min(k, len(candidates))
    hits = Hits(np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32))
    open_rows, depth = np.arange(len(queries)), k
    while open_rows.size:
        depth = min(2 * depth if depth > k else k + 1, len(candidates))
        step = max(1, TILE_BYTES // (BYTES_PER_HIT * depth))
        undecided: list[np.ndarray] = []
        for start in range(0, len(open_rows), step):
            part = open_rows[start : start + step]
            scores, rows = faiss.knn(
                queries[part], candidates, depth, metric=faiss.METRIC_INNER_PRODUCT
            )
            order = np.lexsort((rows, -scores), axis=-1)[:, :k]
            hits.rows[part] = np.take_along_axis(rows, order, axis=1)
            hits.scores[part] = np.take_along_axis(scores, order, axis=1)
            undecided.append(part[hits.scores[part, -1] == scores.min(axis=1)])
        open_rows = np.concatenate(undecided) if depth < len(candidates) else open_rows[:0]
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
            yield rows, _best(document_scores(tile @ candidates.T), k)


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
