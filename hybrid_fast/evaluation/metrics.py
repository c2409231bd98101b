"""Retrieval metrics from the ranks of relevant candidates: by query, by cell, by setting.

A cell is a query language against one pool: the candidates of one language, or all ("all"). Its
score is the mean over its queries with at least one relevant in that pool; the score of a setting
is the unweighted mean over its non-empty cells. R is the number of relevants of a query, those not
found having rank infinity, and g the grade of a relevant (1 if ungraded):

    map          mean over the relevants of (relevants up to its rank) / rank
    map@k        the same sum over ranks up to k, divided by min(R, k): LAReQA (Roy et al. 2020)
    map_cut@k    the same sum over ranks up to k, divided by R: trec_eval's map_cut
    ndcg, @k     sum of g / log2(rank + 1) over ranks up to k, divided by the largest possible sum
                 (Järvelin and Kekäläinen 2002, gains and discount of trec_eval)
    mrr, @k      1 / rank of the first relevant, 0 if that is beyond k
    recall@k     relevants with rank up to k / R
    success@k    1 if a relevant has rank up to k, else 0

All range from 0 to 1; higher is better.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from hybrid_fast.common.choices import nearest
from hybrid_fast.evaluation.ranks import Ranks, Relevants, Unfound
from hybrid_fast.results.metrics import METRICS


class RankedRelevants(NamedTuple):
    """Relevants sorted by cell, then by rank; a cell is one query in one pool.

    Attributes:
        cells: the cell of each relevant, int64 (num_relevants,).
        ranks: its rank, float64, infinite if it was not found.
        found: the number of relevants of its cell ranked at or above it.
        totals: the number of relevants of its cell.
        grades: its grade, above 0.
        best_grades: the grade at its place in the best possible order.
    """

    cells: np.ndarray
    ranks: np.ndarray
    found: np.ndarray
    totals: np.ndarray
    grades: np.ndarray
    best_grades: np.ndarray


# Returns what each relevant adds to the score of its cell; the cutoff may be infinite.
Gain = Callable[[RankedRelevants, float], np.ndarray]


def _precision(hits: RankedRelevants, cutoff: float) -> np.ndarray:
    return np.where(hits.ranks <= cutoff, hits.found / hits.ranks, 0.0)


def _average_precision(hits: RankedRelevants, cutoff: float) -> np.ndarray:
    return _precision(hits, cutoff) / np.minimum(hits.totals, cutoff)


def _average_precision_of_all(hits: RankedRelevants, cutoff: float) -> np.ndarray:
    return _precision(hits, cutoff) / hits.totals


def _discounted_gain(hits: RankedRelevants, cutoff: float) -> np.ndarray:
    gains = np.where(hits.ranks <= cutoff, hits.grades / np.log2(hits.ranks + 1), 0.0)
    best = np.where(hits.found <= cutoff, hits.best_grades / np.log2(hits.found + 1), 0.0)
    return gains / np.bincount(hits.cells, weights=best)[hits.cells]


def _reciprocal_rank(hits: RankedRelevants, cutoff: float) -> np.ndarray:
    return np.where((hits.found == 1) & (hits.ranks <= cutoff), 1 / hits.ranks, 0.0)


def _recall(hits: RankedRelevants, cutoff: float) -> np.ndarray:
    return (hits.ranks <= cutoff) / hits.totals


def _success(hits: RankedRelevants, cutoff: float) -> np.ndarray:
    return (hits.found == 1) & (hits.ranks <= cutoff)


_GAINS: dict[str, Gain] = {
    "map": _average_precision,
    "map_cut": _average_precision_of_all,
    "ndcg": _discounted_gain,
    "mrr": _reciprocal_rank,
    "recall": _recall,
    "success": _success,
}
_NEED_CUTOFF = ("map_cut", "recall", "success")


def find_metrics(names: Iterable[str]) -> dict[str, Callable[[RankedRelevants], np.ndarray]]:
    """Return, by name, what computes each metric, such as "map", "ndcg@10" or "recall@100".

    Raises:
        TypeError: if `names` is a string.
        ValueError: if there are no names, or one is unknown or lacks the cutoff it needs.
    """
    if isinstance(names, str):
        raise TypeError(f"metrics is the text {names!r}; give a list of names")
    gains: dict[str, Callable[[RankedRelevants], np.ndarray]] = {}
    for name in names:
        family, at, cutoff = str(name).partition("@")
        if family not in _GAINS:
            known = ", ".join(f"{each}@k" for each in _GAINS)
            raise ValueError(
                f"there is no metric {name!r}; known are map, ndcg, mrr, {known} with k a whole "
                f"number{nearest(family, _GAINS)}"
            )
        if not re.fullmatch(r"[1-9]\d*", cutoff, re.ASCII) if at else family in _NEED_CUTOFF:
            raise ValueError(f"metric {name!r} needs a cutoff of at least 1, as in '{family}@10'")
        gains[name] = _at_cutoff(_GAINS[family], cutoff_of(name))
    if not gains:
        raise ValueError(f"no metric is given; choose from {', '.join(METRICS)}")
    return gains


def cutoff_of(name: str) -> float:
    """Return the rank beyond which a metric takes no notice, infinite if there is none."""
    _, at, cutoff = name.partition("@")
    return float(cutoff) if at else np.inf


def _at_cutoff(gain: Gain, cutoff: float) -> Callable[[RankedRelevants], np.ndarray]:
    return lambda hits: gain(hits, cutoff)


def score_queries(
    relevants: Relevants,
    ranks: Ranks,
    candidate_languages: np.ndarray,
    num_languages: int,
    metrics: Iterable[str] = METRICS,
    unfound: Unfound | None = None,
) -> dict[str, np.ndarray]:
    """Return every metric of every query in every pool.

    Args:
        relevants: relevant candidates of the queries.
        ranks: their ranks.
        candidate_languages: language code of each candidate, (num_candidates,).
        num_languages: number of language codes.
        metrics: names of metrics, see `find_metrics`.
        unfound: further relevants, which have no rank.

    Returns:
        Metric name to float64 (num_queries, num_languages + 1), the last column being the union
        pool; NaN where a query has no relevant in the pool.

    Raises:
        ValueError: if a metric is unknown.
    """
    num_queries = len(relevants.offsets) - 1
    query_rows, languages = relevants.query_rows, candidate_languages[relevants.rows]
    in_language, in_pool, grades = ranks.in_language, ranks.in_pool, relevants.grades
    if unfound is not None and len(unfound.query_rows):
        never = np.full(len(unfound.query_rows), np.inf)
        in_language, in_pool = np.append(in_language, never), np.append(in_pool, never)
        grades = np.append(np.ones(len(query_rows)) if grades is None else grades, unfound.grades)
        query_rows = np.append(query_rows, unfound.query_rows)
        languages = np.append(languages, unfound.languages)
    metrics = tuple(metrics)
    by_language = score_cells(
        query_rows * num_languages + languages,
        in_language,
        grades,
        num_queries * num_languages,
        metrics,
    )
    of_pool = score_cells(query_rows, in_pool, grades, num_queries, metrics)
    return {
        name: np.column_stack([by_language[name].reshape(num_queries, -1), of_pool[name]])
        for name in metrics
    }


def score_cells(
    cells: np.ndarray,
    ranks: np.ndarray,
    grades: np.ndarray | None,
    num_cells: int,
    metrics: Iterable[str],
) -> dict[str, np.ndarray]:
    """Return each metric by cell, float64 (num_cells,); NaN for cells without relevants.

    Args:
        cells: cell of each relevant, int64 (num_relevants,), in any order.
        ranks: its rank from 1, infinite if it was not found.
        grades: its grade, above 0; None if all are 1.
        num_cells: number of cells.
        metrics: names of metrics, see `find_metrics`.

    Raises:
        ValueError: if a metric is unknown.
    """
    gains = find_metrics(metrics)
    grades = np.ones(len(cells)) if grades is None else np.asarray(grades, dtype=np.float64)
    best_grades = grades[np.lexsort((-grades, cells))]
    order = np.lexsort((ranks, cells))
    cells, ranks = cells[order], ranks[order].astype(np.float64)
    totals = np.bincount(cells, minlength=num_cells)
    starts = np.cumsum(totals) - totals
    found = np.arange(1, len(cells) + 1) - starts[cells]
    hits = RankedRelevants(cells, ranks, found, totals[cells], grades[order], best_grades)
    empty = np.where(totals == 0, np.nan, 0.0)
    return {
        name: empty + np.bincount(cells, weights=gain(hits), minlength=num_cells)
        for name, gain in gains.items()
    }


def average_cells(
    by_query: np.ndarray, query_languages: np.ndarray, num_languages: int
) -> np.ndarray:
    """Return the mean of each cell over its queries; NaN for cells without any.

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
    """Return the number of queries left out of each cell, int64, shaped as `average_cells`."""
    dropped = np.zeros((num_languages, num_languages + 1), dtype=np.int64)
    np.add.at(dropped, query_languages, np.isnan(by_query))
    return dropped


def average_settings(cells: np.ndarray) -> dict[str, float | None]:
    """Return the scores "mono", "cross" and "multi" of a grid of cells; None without cells."""
    languages, own = cells[:, :-1], np.eye(len(cells), dtype=bool)
    pools = {"mono": languages[own], "cross": languages[~own], "multi": cells[:, -1]}
    return {name: to_number(mean_known(pool)) for name, pool in pools.items()}


def mean_known(values: np.ndarray) -> np.ndarray:
    """Return the mean along the first axis of what is not NaN; NaN where everything is."""
    known = ~np.isnan(values)
    totals = np.where(known, values, 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    return np.where(counts, totals / np.maximum(counts, 1), np.nan)


def to_number(value: np.floating | np.ndarray) -> float | None:
    """Return a scalar as a plain number, None for NaN, as results hold it."""
    return None if np.isnan(value) else float(value)
