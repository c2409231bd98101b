"""PEER: whether documents of one relevance level rank alike in all languages (Yang et al. 2024)."""

from __future__ import annotations

import numpy as np
from scipy import stats


def equal_rank_probabilities(
    queries: np.ndarray, languages: np.ndarray, ranks: np.ndarray, num_queries: int
) -> np.ndarray:
    """Return PEER of the documents of one relevance level, float64 (num_queries,).

    The p-value of the Kruskal-Wallis test that documents of all languages have the same expected
    rank, as in hltcoe/peer_measure (Yang et al. 2024): each of the u documents that were not
    retrieved, of n, gets the rank (2n + u + 1) / 2. The probability is 1 if no document was
    retrieved, and also if all ranks are equal otherwise, where peer_measure divides 0 by 0.

    Args:
        queries: query of each document, int64 (n,).
        languages: language code of each document.
        ranks: its rank, infinite if it was not retrieved.
        num_queries: number of queries.

    Returns:
        NaN where fewer than two languages have documents, or none has two: there the statistic does
        not depend on the ranks.
    """
    num_languages = int(languages.max(initial=0)) + 1
    cells = queries * num_languages + languages
    shape = (num_queries, num_languages)
    sizes = np.bincount(cells, minlength=num_queries * num_languages).reshape(shape)
    totals = sizes.sum(axis=1)
    lost = np.bincount(queries[np.isinf(ranks)], minlength=num_queries)
    placed = np.where(np.isinf(ranks), ((2 * totals + lost + 1) / 2)[queries], ranks)
    means = np.bincount(queries, placed, num_queries) / np.maximum(totals, 1)
    spread = np.bincount(queries, (placed - means[queries]) ** 2, num_queries)
    sums = np.bincount(cells, placed, num_queries * num_languages).reshape(shape)
    language_means = sums / np.maximum(sizes, 1)
    between = (sizes * (language_means - means[:, None]) ** 2).sum(axis=1)
    num_present = (sizes > 0).sum(axis=1)
    statistic = np.divide(
        (totals - 1) * between, spread, out=np.zeros(num_queries), where=spread > 0
    )
    speaks = (num_present >= 2) & (sizes.max(axis=1) >= 2)
    return np.where(speaks, stats.chi2.sf(statistic, np.maximum(num_present - 1, 1)), np.nan)
