"""Figures of retrieval from ranks of relevant candidates: by query, by cell, by setting.

A cell is a query language against one pool: the candidates of one language, or all ("all"). Its
figure is the mean over its queries with at least one relevant in that pool; a setting's figure is
the unweighted mean over its non-empty cells. Definitions as in LAReQA (Roy et al. 2020):

    map        mean over a query's R relevants of (relevants up to its rank) / rank, full ranking
    map@20     the same sum over ranks up to 20, divided by min(R, 20)
    recall@k   relevants with rank up to k / R
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from hybrid_fast.evaluation.ranks import Ranks, Relevants

# Ranks of all relevants, how many of their own query's relevants stand at or above each, and R.
Gain = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _precision(
    ranks: np.ndarray, found: np.ndarray, totals: np.ndarray, cutoff: int | None = None
) -> np.ndarray:
    if cutoff is None:
        return found / ranks / totals
    return np.where(ranks <= cutoff, found / ranks, 0.0) / np.minimum(totals, cutoff)


def _hit(ranks: np.ndarray, found: np.ndarray, totals: np.ndarray, cutoff: int) -> np.ndarray:
    return (ranks <= cutoff) / totals


# What each relevant adds to the figure of its query.
METRICS: dict[str, Gain] = {
    "map": _precision,
    "map@20": partial(_precision, cutoff=20),
    "recall@1": partial(_hit, cutoff=1),
    "recall@10": partial(_hit, cutoff=10),
}


def score_queries(
    relevants: Relevants, ranks: Ranks, candidate_languages: np.ndarray, num_languages: int
) -> dict[str, np.ndarray]:
    """Return every metric of every query in every pool.

    Args:
        relevants: relevant candidates of the queries.
        ranks: their ranks.
        candidate_languages: language code of each candidate, (num_candidates,).
        num_languages: number of language codes.

    Returns:
        Metric name to float64 (num_queries, num_languages + 1); the last column is the union pool.
        NaN where a query has no relevant in the pool.
    """
    num_queries = len(relevants.offsets) - 1
    languages = candidate_languages[relevants.rows]
    by_language = _score_cells(
        relevants.query_rows * num_languages + languages,
        ranks.in_language,
        num_queries * num_languages,
    )
    in_pool = _score_cells(relevants.query_rows, ranks.in_pool, num_queries)
    return {
        name: np.column_stack([by_language[name].reshape(num_queries, -1), in_pool[name]])
        for name in METRICS
    }


def _score_cells(cells: np.ndarray, ranks: np.ndarray, num_cells: int) -> dict[str, np.ndarray]:
    """Return each metric by cell, a cell being one query in one pool; NaN for empty cells."""
    order = np.lexsort((ranks, cells))
    cells, ranks = cells[order], ranks[order]
    totals = np.bincount(cells, minlength=num_cells)
    starts = np.cumsum(totals) - totals
    found = np.arange(1, len(cells) + 1) - starts[cells]
    empty = np.where(totals == 0, np.nan, 0.0)
    return {
        name: empty
        + np.bincount(cells, weights=gain(ranks, found, totals[cells]), minlength=num_cells)
        for name, gain in METRICS.items()
    }


def average_cells(
    by_query: np.ndarray, query_languages: np.ndarray, num_languages: int
) -> np.ndarray:
    """Return the mean of each cell over its queries, NaN for cells without any.

    Args:
        by_query: one metric of `score_queries`, (num_queries, num_languages + 1).
        query_languages: language code of each query, (num_queries,).
        num_languages: number of language codes.

    Returns:
        float64 (num_languages, num_languages + 1), query language by pool.
    """
    cells = np.full((num_languages, num_languages + 1), np.nan)
    for language in np.unique(query_languages):
        cells[language] = mean_known(by_query[query_languages == language])
    return cells


def count_dropped(
    by_query: np.ndarray, query_languages: np.ndarray, num_languages: int
) -> np.ndarray:
    """Return how many queries each cell leaves out, int64, in the shape of `average_cells`."""
    dropped = np.zeros((num_languages, num_languages + 1), dtype=np.int64)
    np.add.at(dropped, query_languages, np.isnan(by_query))
    return dropped


def average_settings(cells: np.ndarray) -> dict[str, float | None]:
    """Return the figures "mono", "cross" and "multi" of a grid of cells; None without cells."""
    languages, own = cells[:, :-1], np.eye(len(cells), dtype=bool)
    pools = {"mono": languages[own], "cross": languages[~own], "multi": cells[:, -1]}
    return {name: to_figure(mean_known(pool)) for name, pool in pools.items()}


def mean_known(values: np.ndarray) -> np.ndarray:
    """Return the mean along the first axis over what is not NaN; NaN where all is NaN."""
    known = ~np.isnan(values)
    totals = np.where(known, values, 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    return np.where(counts, totals / np.maximum(counts, 1), np.nan)


def to_figure(value: np.floating | np.ndarray) -> float | None:
    """Return a scalar as a plain number, None for NaN: the form of figures in results."""
    return None if np.isnan(value) else float(value)
