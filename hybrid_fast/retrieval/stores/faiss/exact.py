"""Exact search over the rows of a FAISS store, block by block; memory follows the block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hybrid_fast.retrieval.exact_search import Hits, search_checked
from hybrid_fast.retrieval.stores.faiss.vectors import Vectors


def search_rows(
    vectors: Vectors,
    queries: np.ndarray,
    k: int,
    allowed: np.ndarray | None = None,
    first: int = 0,
    end: int | None = None,
) -> Hits:
    """Return the k rows with the highest inner products; in a tie the lower row comes first.

    Args:
        vectors: of the rows.
        queries: float32 (num_queries, D).
        k: number of hits; all rows that are searched if there are fewer.
        allowed: rows that may be found, bool (n,); default all.
        first: row to begin with.
        end: row to stop before; default after the last.
    """
    hits = no_hits(len(queries))
    if not len(queries):
        return hits
    for rows, block in _blocks(vectors, allowed, first, end):
        found = search_checked(queries, block, k)
        hits = best(hits, Hits(rows[found.rows], found.scores), k)
    return hits


def best(some: Hits, others: Hits, k: int) -> Hits:
    """Return the k best of two sets of hits of the same queries, equal scores by row."""
    rows = np.concatenate([some.rows, others.rows], axis=1)
    scores = np.concatenate([some.scores, others.scores], axis=1)
    return first_of(rows, scores, k)


def first_of(rows: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    """Return the k rows with the highest scores, (n, m) both; equal scores by row."""
    order = np.lexsort((rows, -scores), axis=-1)[:, :k]
    return Hits(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


def no_hits(num_queries: int) -> Hits:
    """Return no hits of some queries."""
    return Hits(np.empty((num_queries, 0), np.int64), np.empty((num_queries, 0), np.float32))


def _blocks(
    vectors: Vectors, allowed: np.ndarray | None, first: int, end: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows that may be found, int64 (m,), and their vectors, float32 (m, D)."""
    if allowed is None:
        for block in vectors.blocks(first, end):
            yield np.arange(first, first + len(block)), block
            first += len(block)
        return
    rows = first + np.flatnonzero(allowed[first:end])
    for start in range(0, len(rows), vectors.block_rows):
        some = rows[start : start + vectors.block_rows]
        whole = some[-1] - some[0] + 1 == len(some)  # one range, which need not be copied
        yield some, vectors.take(slice(some[0], some[-1] + 1) if whole else some)
