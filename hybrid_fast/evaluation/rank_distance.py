"""Rank distance: how far apart the relevants of a query rank in the pool of all languages."""

from __future__ import annotations

import numpy as np

from hybrid_fast.evaluation.metrics import mean_known, to_number
from hybrid_fast.evaluation.ranks import Relevants
from hybrid_fast.results import RankDistance


def rank_distances(relevants: Relevants, pool_ranks: np.ndarray) -> np.ndarray:
    """Return the rank distance of each query, float64 (num_queries,); NaN below two relevants.

    The largest minus the smallest rank of its relevants (arXiv 2408.10536); m relevants are at
    least m - 1 apart.

    Args:
        relevants: relevant candidates of the queries.
        pool_ranks: their ranks in the union pool, (num_relevants,).
    """
    distances = np.full(len(relevants.counts), np.nan)
    some = relevants.counts > 0
    if some.any():
        starts = relevants.offsets[:-1][some]
        highest = np.maximum.reduceat(pool_ranks, starts)
        distances[some] = highest - np.minimum.reduceat(pool_ranks, starts)
    distances[relevants.counts < 2] = np.nan
    return distances


def summarise_rank_distances(
    distances: np.ndarray, query_languages: np.ndarray, languages: tuple[str, ...], pool_size: int
) -> RankDistance:
    """Return mean and median by query language, averaged over the languages that have any.

    Args:
        distances: of each query, NaN where it has none.
        query_languages: language code of each query.
        languages: names of the codes.
        pool_size: number of candidates, the unit of the normalised distance.

    Returns:
        The scores, None where no query has a distance.
    """
    means = np.full(len(languages), np.nan)
    medians = np.full(len(languages), np.nan)
    for language in np.unique(query_languages):
        known = distances[(query_languages == language) & ~np.isnan(distances)]
        if known.size:
            means[language], medians[language] = known.mean(), np.median(known)
    mean = mean_known(means)
    return RankDistance(
        mean=to_number(mean),
        median=to_number(mean_known(medians)),
        normalised=to_number(mean / pool_size),
        by_language={
            languages[code]: to_number(means[code]) for code in np.unique(query_languages)
        },
    )
