"""Language bias of rankings in the union pool of all languages.

Every score is a mean over the queries (or pairs of queries) of a language, then over languages.
Meaning, formula, source, range and direction of each: docs/evaluation.md. In short:

    rank distance               how far apart a query's relevants rank; lower is better
    language share              languages of the first k, compared with those of the pool
    query-language preference   how often the first relevant has the query's language
    MRC, MRC@k                  how alike a question's translations are ranked; best is 1
    PEER@k                      whether a level's documents rank alike in all languages; best is 1

The rank distance is computed from the ranks of relevants alone, see `rank_distance`; the others
from rankings that exist for one tile of queries at a time, see `LanguageBiasAccumulator`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import torch

from hybrid_fast import _core
from hybrid_fast.evaluation.metrics import mean_known, to_number
from hybrid_fast.evaluation.peer import equal_rank_probabilities
from hybrid_fast.evaluation.ranking_correlation import (
    PairCorrelations,
    correlate_first,
    correlate_rankings,
)
from hybrid_fast.evaluation.ranks import Relevants
from hybrid_fast.results import BiasScore, RankingBias
from hybrid_fast.retrieval.shared_work import SharedWork

CUTOFF = 20
MAX_LEVELS = 10


@dataclass
class LanguageBiasAccumulator:
    """Accumulates evidence of language bias from rankings, one tile of queries at a time.

    Where queries have translations, full rankings are compared. They take memory for the ranks of
    one tile, as much as for its scores, and 8 bytes for each candidate and translation of one
    question. Elsewhere the first `cutoff` candidates are enough.

    Attributes:
        groups: int64 (num_queries,), equal for translations of one another.
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
        """Add a tile: rows of queries, with all translations of each question, and their scores."""
        num_threads = torch.get_num_threads()
        if self.has_translations:
            ranks, first = _core.rank_rows(scores, self.cutoff, num_threads=num_threads)
            self._compare_translations(rows, ranks, first)
        else:
            first = _core.find_first(scores, self.cutoff, num_threads=num_threads)
        self.add_first(rows, self.candidate_languages[first], self._are_relevant(rows, first))

    def add_first(self, rows: np.ndarray, languages: np.ndarray, are_relevant: np.ndarray) -> None:
        """Add what is known of rankings by their first candidates alone.

        Args:
            rows: of queries, int64 (n,).
            languages: codes of the first candidates, (n, cutoff); -1 beyond the last.
            are_relevant: whether each is relevant, bool (n, cutoff).
        """
        are_known = languages >= 0
        totals = np.maximum(are_known.sum(axis=1), 1)
        for code in range(self.num_languages):
            self.shares[rows, code] = (languages == code).sum(axis=1) / totals
        where, rank = np.nonzero(are_known & ~are_relevant)
        self.non_relevant_peer[rows] = equal_rank_probabilities(
            where, languages[where, rank], rank + 1.0, len(rows)
        )

    def combine(self, shared: SharedWork, rows_of_ranks: list[np.ndarray]) -> None:
        """Add what other ranks have accumulated of their rows of queries, in rank order."""
        shared.fill_in(self.shares, rows_of_ranks)
        shared.fill_in(self.non_relevant_peer, rows_of_ranks)
        self.full.combine(shared)
        self.first.combine(shared)

    def _are_relevant(self, rows: np.ndarray, first: np.ndarray) -> np.ndarray:
        num_candidates = len(self.candidate_languages)
        entries = self.relevants.entries(rows)
        places = np.repeat(np.arange(len(rows)), self.relevants.counts[rows])
        relevant = places * num_candidates + self.relevants.rows[entries]
        cells = np.arange(len(rows))[:, None] * num_candidates + first
        return np.isin(cells, relevant)

    def _compare_translations(self, rows: np.ndarray, ranks: np.ndarray, first: np.ndarray) -> None:
        codes, pairs = self.query_languages[rows], []
        for group in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(self.groups[rows])) + 1):
            some = [(a, b) for a, b in combinations(group, 2) if codes[a] != codes[b]]
            if some:
                pairs += some
                a, b = np.array(some).T
                table = correlate_rankings(ranks[group])[a - group[0], b - group[0]]
                self.full.add(codes[a], codes[b], table)
        if pairs:
            a, b = np.array(pairs).T
            self.first.add(codes[a], codes[b], correlate_first(ranks, first, a, b))


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


def summarise_rankings(
    accumulator: LanguageBiasAccumulator, pool_ranks: np.ndarray, languages: tuple[str, ...]
) -> RankingBias:
    """Return language shares, query-language preference, MRC and PEER.

    Args:
        accumulator: after all tiles.
        pool_ranks: ranks of the relevants in the union pool, (num_relevants,).
        languages: names of the language codes.
    """
    preferences, chances = language_preferences(
        accumulator.relevants,
        pool_ranks,
        accumulator.query_languages,
        accumulator.candidate_languages,
    )
    average = _Averages(accumulator.query_languages, languages)
    return replace(
        summarise_first(accumulator, pool_ranks, languages),
        query_language_preference=average.summary(preferences),
        chance=average.summary(chances).score,
        mrc=accumulator.full.summary(languages),
        mrc_20=accumulator.first.summary(languages),
    )


def summarise_first(
    accumulator: LanguageBiasAccumulator, pool_ranks: np.ndarray, languages: tuple[str, ...]
) -> RankingBias:
    """Return what follows from the first candidates alone: language shares and PEER.

    Args:
        accumulator: after all queries.
        pool_ranks: as in `summarise_rankings`; infinite beyond the first.
        languages: names of the language codes.
    """
    query_languages = accumulator.query_languages
    asking = np.unique(query_languages)
    pool = np.bincount(accumulator.candidate_languages, minlength=len(languages))
    pool_shares = pool / pool.sum()
    shares = np.array([accumulator.shares[query_languages == x].mean(axis=0) for x in asking])
    average = _Averages(query_languages, languages)
    return RankingBias(
        pool_share=dict(zip(languages, pool_shares.tolist(), strict=True)),
        language_share={
            languages[x]: dict(zip(languages, row.tolist(), strict=True))
            for x, row in zip(asking, shares, strict=True)
        },
        language_share_gap=float(np.abs(shares - pool_shares).sum(axis=1).mean() / 2),
        peer={
            level: average.summary(values)
            for level, values in _peer_by_level(accumulator, pool_ranks).items()
        },
    )


@dataclass(frozen=True)
class _Averages:
    """Means of scores of queries over each language, then over languages."""

    query_languages: np.ndarray
    languages: tuple[str, ...]

    def summary(self, values: np.ndarray) -> BiasScore:
        codes = np.unique(self.query_languages)
        means = np.array([mean_known(values[self.query_languages == code]) for code in codes])
        num_known = int(np.count_nonzero(~np.isnan(values)))
        return BiasScore(
            to_number(mean_known(means)),
            {
                self.languages[code]: to_number(mean)
                for code, mean in zip(codes, means, strict=True)
            },
            {"queries": num_known, "left_out": len(values) - num_known},
        )


def _peer_by_level(
    accumulator: LanguageBiasAccumulator, pool_ranks: np.ndarray
) -> dict[str, np.ndarray]:
    """Return PEER@k of each query by relevance level, "non-relevant" first.

    Grades of more than `MAX_LEVELS` values are no levels but a scale; all its relevants are one.
    """
    relevants = accumulator.relevants
    grades = np.ones_like(relevants.rows) if relevants.grades is None else relevants.grades
    levels = np.unique(grades).tolist()
    if len(levels) > MAX_LEVELS:
        grades, levels = np.ones_like(grades), [1]
    by_level = {"non-relevant": accumulator.non_relevant_peer}
    for level in levels or [1]:
        chosen = grades == level
        ranks = pool_ranks[chosen]
        name = "relevant" if levels in ([1], []) else f"grade {level:g}"
        by_level[name] = equal_rank_probabilities(
            relevants.query_rows[chosen],
            accumulator.candidate_languages[relevants.rows[chosen]].astype(np.int64),
            np.where(ranks <= accumulator.cutoff, ranks, np.inf),
            len(accumulator.groups),
        )
    return by_level
