"""Language bias of rankings in the union pool of all languages.

Every figure is a mean over the queries (or pairs of queries) of a language, then over languages.
What each says, its formula, source, range and direction: docs/evaluation.md. In short:

    rank distance               how far apart a query's relevants stand; lower is better
    language share              languages of the first k against those of the pool
    query-language preference   how often the first relevant has the query's language
    MRC, MRC@k                  how alike the rankings of a question's translations are; to 1
    PEER@k                      whether documents of a level rank alike in all languages; to 1

Full rankings exist for one tile of queries at a time, see `RankingWatch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy import stats

from hybrid_fast import _core
from hybrid_fast.evaluation.metrics import mean_known, to_number
from hybrid_fast.evaluation.ranks import Relevants

CUTOFF = 20


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
) -> dict[str, float | dict[str, float | None] | None]:
    """Return mean and median by query language, averaged over the languages that have any.

    Args:
        distances: of each query, NaN where it has none.
        query_languages: language code of each query.
        languages: names of the codes.
        pool_size: number of candidates, the unit of the normalised distance.

    Returns:
        "rank_distance", "rank_distance_median", "rank_distance_normalised" (mean / pool size) and
        "by_language" (mean by query language); None where no query has a distance.
    """
    means = np.full(len(languages), np.nan)
    medians = np.full(len(languages), np.nan)
    for language in np.unique(query_languages):
        known = distances[(query_languages == language) & ~np.isnan(distances)]
        if known.size:
            means[language], medians[language] = known.mean(), np.median(known)
    mean = mean_known(means)
    return {
        "rank_distance": to_number(mean),
        "rank_distance_median": to_number(mean_known(medians)),
        "rank_distance_normalised": to_number(mean / pool_size),
        "by_language": {
            languages[code]: to_number(means[code]) for code in np.unique(query_languages)
        },
    }


def language_preferences(
    relevants: Relevants,
    pool_ranks: np.ndarray,
    query_languages: np.ndarray,
    candidate_languages: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the first relevant has the query's language, and the chance of that.

    Args:
        relevants: relevant candidates of the queries.
        pool_ranks: their ranks in the union pool, (num_relevants,).
        query_languages: language code of each query.
        candidate_languages: language code of each candidate.

    Returns:
        Preference, 1.0 or 0.0, and chance, the share of its relevants that have the query's
        language: float64 (num_queries,) each, NaN for queries without relevants both in their own
        and in another language.
    """
    queries, num_queries = relevants.query_rows, len(relevants.counts)
    own = candidate_languages[relevants.rows] == query_languages[queries]
    first_own, first_other = np.full(num_queries, np.inf), np.full(num_queries, np.inf)
    np.minimum.at(first_own, queries[own], pool_ranks[own])
    np.minimum.at(first_other, queries[~own], pool_ranks[~own])
    valid = np.isfinite(first_own) & np.isfinite(first_other)
    num_own = np.bincount(queries[own], minlength=num_queries)
    chances = np.where(valid, num_own / np.maximum(relevants.counts, 1), np.nan)
    return np.where(valid, (first_own < first_other).astype(np.float64), np.nan), chances


def equal_rank_probabilities(
    queries: np.ndarray, languages: np.ndarray, ranks: np.ndarray, num_queries: int
) -> np.ndarray:
    """Return PEER of the documents of one relevance level, float64 (num_queries,).

    The p-value of the Kruskal-Wallis test that documents of all languages have the same expected
    rank, computed as in hltcoe/peer_measure (Yang et al. 2024): documents that were not retrieved
    stand together at (2n + u + 1) / 2, n being the number of documents and u of those not
    retrieved, and 1 if none was retrieved; and also 1 where a rank happens to be that one, so that
    all are equal, which is 0 / 0 there.

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


@dataclass
class PairCorrelations:
    """Sums of correlations between queries of two languages.

    Attributes:
        sums: float64 (num_languages, num_languages), symmetric.
        counts: how many correlations each sum holds.
        num_undefined: correlations left out, a ranking being one single tie.
    """

    sums: np.ndarray
    counts: np.ndarray
    num_undefined: int = 0

    def add(self, x: np.ndarray, y: np.ndarray, correlations: np.ndarray) -> None:
        """Add correlations between queries of the language codes x and y, NaN if undefined."""
        known = ~np.isnan(correlations)
        for one, other in ((x[known], y[known]), (y[known], x[known])):
            np.add.at(self.sums, (one, other), correlations[known])
            np.add.at(self.counts, (one, other), 1)
        self.num_undefined += int(np.count_nonzero(~known))

    def summary(self, languages: Sequence[str]) -> dict[str, Any]:
        """Return the mean over pairs of languages, also by language, and what was counted."""
        means = np.divide(
            self.sums, self.counts, out=np.full(self.sums.shape, np.nan), where=self.counts > 0
        )
        by_language = mean_known(means)
        return {
            "figure": to_number(mean_known(means[np.triu_indices(len(means), 1)])),
            "by_language": {
                name: to_number(by_language[code])
                for code, name in enumerate(languages)
                if self.counts[code].any()
            },
            "pairs": int(self.counts.sum()) // 2,
            "undefined": self.num_undefined,
        }


@dataclass
class RankingWatch:
    """Collects from rankings, a tile of queries at a time, what they tell of language bias.

    Where queries have translations, of full rankings, whose memory is the ranks of one tile, as
    large as its scores, and 8 bytes a candidate and translation of one question; else of the first
    candidates.

    Attributes:
        groups: queries of one number are translations of one another, int64 (num_queries,).
        query_languages: language code of each query.
        candidate_languages: language code of each candidate.
        num_languages: number of language codes.
        relevants: relevant candidates of the queries.
        cutoff: k.
    """

    groups: np.ndarray
    query_languages: np.ndarray
    candidate_languages: np.ndarray
    num_languages: int
    relevants: Relevants
    cutoff: int = CUTOFF
    has_translations: bool = field(init=False)
    shares: np.ndarray = field(init=False)
    non_relevant_peer: np.ndarray = field(init=False)
    full: PairCorrelations = field(init=False)
    first: PairCorrelations = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing counted."""
        num_queries, shape = len(self.groups), (self.num_languages, self.num_languages)
        self.cutoff = min(self.cutoff, len(self.candidate_languages))
        languages_of_groups = np.unique(np.stack([self.groups, self.query_languages]), axis=1)[0]
        self.has_translations = len(np.unique(languages_of_groups)) < len(languages_of_groups)
        self.shares = np.zeros((num_queries, self.num_languages))
        self.non_relevant_peer = np.full(num_queries, np.nan)
        self.full = PairCorrelations(np.zeros(shape), np.zeros(shape, dtype=np.int64))
        self.first = PairCorrelations(np.zeros(shape), np.zeros(shape, dtype=np.int64))

    def __call__(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Take a tile: rows of queries, all translations of a question among them, and scores."""
        num_threads = torch.get_num_threads()
        if self.has_translations:
            ranks, first = _core.rank_rows(scores, self.cutoff, num_threads=num_threads)
            self._compare_translations(rows, ranks, first)
        else:
            first = _core.find_first(scores, self.cutoff, num_threads=num_threads)
        languages = self.candidate_languages[first]
        for code in range(self.num_languages):
            self.shares[rows, code] = (languages == code).mean(axis=1)
        self._test_non_relevants(rows, first, languages)

    def _test_non_relevants(
        self, rows: np.ndarray, first: np.ndarray, languages: np.ndarray
    ) -> None:
        num_candidates = len(self.candidate_languages)
        entries = self.relevants.entries(rows)
        places = np.repeat(np.arange(len(rows)), self.relevants.counts[rows])
        relevant = places * num_candidates + self.relevants.rows[entries]
        cells = np.arange(len(rows))[:, None] * num_candidates + first
        where, rank = np.nonzero(~np.isin(cells, relevant))
        self.non_relevant_peer[rows] = equal_rank_probabilities(
            where, languages[where, rank], rank + 1.0, len(rows)
        )

    def _compare_translations(self, rows: np.ndarray, ranks: np.ndarray, first: np.ndarray) -> None:
        codes, pairs = self.query_languages[rows], []
        for group in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(self.groups[rows])) + 1):
            some = [(a, b) for a, b in combinations(group, 2) if codes[a] != codes[b]]
            if some:
                pairs += some
                a, b = np.array(some).T
                table = _correlations(ranks[group])[a - group[0], b - group[0]]
                self.full.add(codes[a], codes[b], table)
        if pairs:
            a, b = np.array(pairs).T
            self.first.add(codes[a], codes[b], _first_correlations(ranks, first, a, b))


def _correlations(ranks: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of all pairs of rows of mean ranks; NaN for constant rows."""
    centred = ranks.astype(np.float64) - (ranks.shape[1] + 1) / 2
    products = centred @ centred.T
    norms = np.sqrt(np.diag(products))
    scale = np.outer(norms, norms)
    return np.divide(products, scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def _first_correlations(
    ranks: np.ndarray, first: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Return Spearman's correlation of rows a[i] and b[i] over the union of their first columns."""
    columns = np.hstack([first[a], first[b]])
    num_first = first.shape[1]
    repeated = np.zeros(columns.shape, dtype=bool)
    repeated[:, num_first:] = (first[b][:, :, None] == first[a][:, None, :]).any(axis=2)
    sizes = columns.shape[1] - repeated.sum(axis=1)
    centred = []
    for row in (a, b):
        # Repeated columns go last, where they change no other rank, and are then taken out.
        own = np.where(repeated, np.inf, ranks[row[:, None], columns])
        centred.append(
            np.where(repeated, 0, stats.rankdata(own, axis=1) - (sizes[:, None] + 1) / 2)
        )
    covariance = (centred[0] * centred[1]).sum(axis=1)
    scale = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return np.divide(covariance, scale, out=np.full(len(a), np.nan), where=scale > 0)


def summarise_rankings(
    watch: RankingWatch, pool_ranks: np.ndarray, languages: tuple[str, ...]
) -> dict[str, Any]:
    """Return language shares, preference, MRC and PEER, as "language_bias" of results holds them.

    Args:
        watch: after all tiles.
        pool_ranks: ranks of the relevants in the union pool, (num_relevants,).
        languages: names of the language codes.
    """
    asking = np.unique(watch.query_languages)
    k = f"@{CUTOFF}"
    pool = np.bincount(watch.candidate_languages, minlength=len(languages))
    pool_shares = pool / pool.sum()
    shares = np.array([watch.shares[watch.query_languages == x].mean(axis=0) for x in asking])
    preferences, chances = language_preferences(
        watch.relevants, pool_ranks, watch.query_languages, watch.candidate_languages
    )
    by_language = _Averages(watch.query_languages, languages)
    return {
        "pool_share": dict(zip(languages, pool_shares.tolist(), strict=True)),
        f"language_share{k}": {
            languages[x]: dict(zip(languages, row.tolist(), strict=True))
            for x, row in zip(asking, shares, strict=True)
        },
        f"language_share_gap{k}": float(np.abs(shares - pool_shares).sum(axis=1).mean() / 2),
        "query_language_preference": {
            **by_language.summary(preferences),
            "chance": by_language.summary(chances)["figure"],
        },
        "mrc": watch.full.summary(languages),
        f"mrc{k}": watch.first.summary(languages),
        f"peer{k}": {
            level: by_language.summary(values)
            for level, values in _peer_by_level(watch, pool_ranks).items()
        },
    }


@dataclass(frozen=True)
class _Averages:
    """Means of figures of queries over each language, then over languages."""

    query_languages: np.ndarray
    languages: tuple[str, ...]

    def summary(self, values: np.ndarray) -> dict[str, Any]:
        codes = np.unique(self.query_languages)
        means = np.array([mean_known(values[self.query_languages == code]) for code in codes])
        num_known = int(np.count_nonzero(~np.isnan(values)))
        return {
            "figure": to_number(mean_known(means)),
            "by_language": {
                self.languages[code]: to_number(mean)
                for code, mean in zip(codes, means, strict=True)
            },
            "queries": num_known,
            "left_out": len(values) - num_known,
        }


def _peer_by_level(watch: RankingWatch, pool_ranks: np.ndarray) -> dict[str, np.ndarray]:
    """Return PEER@k of each query by relevance level, the level of what is not relevant first."""
    relevants = watch.relevants
    grades = np.ones_like(relevants.rows) if relevants.grades is None else relevants.grades
    levels = np.unique(grades).tolist()
    by_level = {"non-relevant": watch.non_relevant_peer}
    for level in levels or [1]:
        chosen = grades == level
        ranks = pool_ranks[chosen]
        name = "relevant" if levels in ([1], []) else f"grade {level}"
        by_level[name] = equal_rank_probabilities(
            relevants.query_rows[chosen],
            watch.candidate_languages[relevants.rows[chosen]].astype(np.int64),
            np.where(ranks <= watch.cutoff, ranks, np.inf),
            len(watch.groups),
        )
    return by_level
