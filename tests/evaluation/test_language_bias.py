"""Language bias from full rankings: a blind and a biased model by hand, and slow definitions."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from hybrid_fast.evaluation.language_bias import (
    LanguageBiasAccumulator,
    language_preferences,
    summarise_rankings,
)
from hybrid_fast.evaluation.peer import equal_rank_probabilities
from hybrid_fast.evaluation.ranks import Relevants, rank_relevants
from hybrid_fast.results import BiasScore
from hybrid_fast.retrieval.scores import dot_products

NAN = np.nan


def parallel(num_languages, num_groups):
    """Languages and groups of texts in the order of languages, one text of each group in each."""
    languages = np.repeat(np.arange(num_languages, dtype=np.int32), num_groups)
    return languages, np.tile(np.arange(num_groups), num_languages)


def summarise(scores, languages, groups):
    """Return the language bias of scores of parallel queries and candidates."""
    num_languages = int(languages.max()) + 1
    rows = [np.flatnonzero(groups == group) for group in groups]
    relevants = Relevants(np.arange(len(groups) + 1) * num_languages, np.concatenate(rows))
    accumulator = LanguageBiasAccumulator(groups, languages, languages, num_languages, relevants)
    order = np.argsort(groups, kind="stable")
    for part in np.array_split(order, groups.max() + 1):
        accumulator(part, scores[part].astype(np.float32))
    ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) + 1
    pool_ranks = ranks[relevants.query_rows, relevants.rows]
    return summarise_rankings(accumulator, pool_ranks, tuple("abcd"[:num_languages]))


def blind_scores(languages, groups):
    """Groups by their distance; within a group the languages in turns, whoever asks."""
    turns = (languages + groups) % 4
    return -(100.0 * np.abs(groups[:, None] - groups) + 10 * (groups > groups[:, None]) + turns)


def test_blind_model():
    languages, groups = parallel(4, 32)
    bias = summarise(blind_scores(languages, groups), languages, groups)
    equal = dict.fromkeys("abcd", 0.25)
    assert bias.pool_share == equal
    assert bias.language_share == dict.fromkeys("abcd", equal)
    assert bias.language_share_gap == 0
    counts = {"queries": 128, "left_out": 0}
    assert bias.query_language_preference == BiasScore(0.25, equal, counts)
    assert bias.chance == 0.25
    for mrc in (bias.mrc, bias.mrc_20):
        assert mrc.score == pytest.approx(1)
        assert mrc.by_language == pytest.approx(dict.fromkeys("abcd", 1))
        assert mrc.counts == {"pairs": 32 * 6, "undefined": 0}
    assert bias.peer["non-relevant"].score > 0.9
    assert bias.peer["relevant"].score is None
    assert bias.peer["relevant"].counts["left_out"] == 128


def test_model_that_puts_its_own_language_first():
    """Ranks of the two languages are exchanged: each of 2n differs by n."""
    languages, groups = parallel(2, 32)
    semantic = -np.abs(groups[:, None] - groups) - 0.5 * (groups > groups[:, None])
    bias = summarise(1000.0 * (languages[:, None] == languages) + semantic, languages, groups)
    assert bias.language_share == {"a": {"a": 1, "b": 0}, "b": {"a": 0, "b": 1}}
    assert bias.language_share_gap == 0.5
    assert bias.query_language_preference.by_language == {"a": 1, "b": 1}
    assert bias.chance == 0.5
    assert bias.mrc.score == pytest.approx(1 - 6 * 64 * 32**2 / (64 * (64**2 - 1)))
    # Of the union of 40, 20 columns of one language before 20 of the other.
    assert bias.mrc_20.score == pytest.approx(1 - 6 * 40 * 20**2 / (40 * (40**2 - 1)))
    # All that is not relevant in the first 20 has one language: no test.
    counts = {"queries": 0, "left_out": 64}
    assert bias.peer["non-relevant"] == BiasScore(None, {"a": None, "b": None}, counts)


def test_scores_that_are_one_tie_have_no_correlation():
    languages, groups = parallel(2, 5)
    bias = summarise(np.zeros((10, 10)), languages, groups)
    for mrc in (bias.mrc, bias.mrc_20):
        assert mrc == BiasScore(None, {}, {"pairs": 0, "undefined": 5})


def test_peer_is_the_test_of_kruskal_and_wallis():
    blocks = np.array([0] * 10 + [1] * 10)
    ranks = np.arange(1.0, 21)
    apart = equal_rank_probabilities(np.zeros(20, int), blocks, ranks, 1)
    assert apart == pytest.approx(stats.kruskal(ranks[:10], ranks[10:]).pvalue)
    assert apart < 2e-4
    mixed = equal_rank_probabilities(np.zeros(20, int), np.tile([0, 1, 1, 0], 5), ranks, 1)
    assert mixed == pytest.approx(1)


def test_peer_of_documents_that_were_not_retrieved():
    """Language 0 has ranks 1 and 2, language 1 two documents at (2 * 4 + 2 + 1) / 2."""
    inf = np.inf
    p = equal_rank_probabilities(
        np.zeros(4, int), np.array([0, 0, 1, 1]), np.array([1, 2, inf, inf]), 1
    )
    placed = np.array([1, 2, 5.5, 5.5])
    between = 2 * (1.5 - 3.5) ** 2 + 2 * (5.5 - 3.5) ** 2
    statistic = 3 * between / ((placed - 3.5) ** 2).sum()
    assert p == pytest.approx(stats.chi2.sf(statistic, 1))
    nothing = equal_rank_probabilities(np.zeros(3, int), np.array([0, 0, 1]), np.full(3, inf), 1)
    assert nothing == 1


def test_peer_of_ranks_that_are_all_equal():
    """One document at rank 6, where three that were not retrieved stand: (2 * 4 + 3 + 1) / 2."""
    ranks = np.array([6, np.inf, np.inf, np.inf])
    assert equal_rank_probabilities(np.zeros(4, int), np.array([0, 0, 1, 1]), ranks, 1) == 1


def test_peer_says_nothing_of_one_language_or_one_document_each():
    queries = np.array([0, 0, 1, 1, 3, 3, 3])
    languages = np.array([2, 2, 0, 1, 0, 1, 1])
    p = equal_rank_probabilities(queries, languages, np.array([1, 2, 1, 2, 1, 2, 3.0]), 5)
    np.testing.assert_array_equal(np.isnan(p), [True, True, True, False, True])


def test_preference_needs_relevants_in_both():
    # Query 0: own at 4, other at 2 and 3; 1: own at 1, other at 5; 2: own only; 3: other; 4: none.
    relevants = Relevants(np.array([0, 3, 5, 6, 7, 7]), np.array([0, 1, 2, 0, 1, 0, 1]))
    preferences, chances = language_preferences(
        relevants, np.array([4, 2, 3, 1, 5, 1, 1]), np.zeros(5, int), np.array([0, 1, 1])
    )
    np.testing.assert_array_equal(preferences, [0, 1, NAN, NAN, NAN])
    np.testing.assert_allclose(chances, [1 / 3, 1 / 2, NAN, NAN, NAN])


def slow_peer(documents, cutoff):
    """PEER of (language, rank, retrieved) as hltcoe/peer_measure computes it."""
    by_language = {}
    for language, rank in documents:
        by_language.setdefault(language, []).append(rank if rank <= cutoff else None)
    if len(by_language) < 2 or max(map(len, by_language.values())) < 2:
        return NAN
    n = len(documents)
    lost = sum(rank is None for ranks in by_language.values() for rank in ranks)
    if lost == n:
        return 1.0
    samples = [
        np.array([(2 * n + lost + 1) / 2 if rank is None else rank for rank in ranks])
        for ranks in by_language.values()
    ]
    whole = np.concatenate(samples)
    if np.ptp(whole) == 0:  # where that of peer_measure divides 0 by 0
        return 1.0
    between = sum(len(each) * (each.mean() - whole.mean()) ** 2 for each in samples)
    statistic = (n - 1) * between / ((whole - whole.mean()) ** 2).sum()
    return stats.chi2.sf(statistic, len(samples) - 1)


def mean(values):
    known = [value for value in values if not np.isnan(value)]
    return np.mean(known) if known else NAN


def approximately(value):
    return None if np.isnan(value) else pytest.approx(value, abs=1e-9)


class RandomRankings:
    """Any languages, graded relevants, few distinct scores; 20 queries, the first 20 looked at."""

    names = ("ar", "de", "en")
    num_queries = k = 20

    def __init__(self, seed, levels, num_candidates):
        rng = np.random.default_rng(seed)
        self.num_candidates = num_candidates
        self.query_languages, self.candidate_languages = (
            np.sort(rng.integers(0, 3, n)).astype(np.int32)
            for n in (self.num_queries, num_candidates)
        )
        self.groups = rng.integers(0, 8, self.num_queries)
        self.judged = [
            np.sort(rng.choice(num_candidates, min(count, num_candidates), replace=False))
            for count in rng.integers(0, 7, self.num_queries)
        ]
        rows = np.concatenate(self.judged).astype(np.int64)
        self.grades = rng.integers(1, 3, len(rows))
        offsets = np.cumsum([0, *map(len, self.judged)])
        self.relevants = Relevants(offsets, rows, self.grades)
        self.queries, self.candidates = (
            rng.integers(-levels, levels + 1, (n, 2)).astype(np.float32)
            for n in (self.num_queries, num_candidates)
        )
        self.scores = self.queries @ self.candidates.T
        self.order = np.argsort(-self.scores, axis=1, kind="stable")
        self.first = self.order[:, : self.k]

    def language_bias(self, tile_bytes):
        accumulator = LanguageBiasAccumulator(
            self.groups, self.query_languages, self.candidate_languages, 3, self.relevants
        )
        ranks = rank_relevants(
            dot_products(self.queries, self.candidates),
            np.searchsorted(self.candidate_languages, np.arange(4)),
            self.relevants,
            groups=self.groups,
            on_tile=accumulator,
            tile_bytes=tile_bytes,
        )
        return summarise_rankings(accumulator, ranks.in_pool, self.names)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    levels=st.integers(1, 3),
    num_candidates=st.integers(1, 70),
    tile_bytes=st.sampled_from([1, 2**25]),
)
@example(seed=49, levels=1, num_candidates=28, tile_bytes=1)  # has a query whose PEER is 0 / 0
def test_equals_slow_definitions(seed, levels, num_candidates, tile_bytes):
    """Correlations are scipy's."""
    rankings = RandomRankings(seed, levels, num_candidates)
    bias = rankings.language_bias(tile_bytes)
    check_correlations(rankings, None, bias.mrc)
    check_correlations(rankings, rankings.k, bias.mrc_20)
    check_peer(rankings, bias.peer)
    check_shares(rankings, bias)


def check_correlations(rankings, cut, found):
    """Check the mean correlation of the rankings of translations, or of their first `cut`."""
    groups, languages = rankings.groups, rankings.query_languages
    scores, cells, undefined = rankings.scores, {}, 0
    for a, b in combinations(range(rankings.num_queries), 2):
        if groups[a] != groups[b] or languages[a] == languages[b]:
            continue
        some = np.arange(rankings.num_candidates)
        if cut is not None:
            some = np.union1d(rankings.first[a], rankings.first[b])
        if np.ptp(scores[a, some]) == 0 or np.ptp(scores[b, some]) == 0:
            undefined += 1
            continue
        cell = tuple(sorted((languages[a], languages[b])))
        mean_ranks = [stats.rankdata(scores[row, some]) for row in (a, b)]
        cells.setdefault(cell, []).append(np.corrcoef(mean_ranks)[0, 1])
    means = {cell: np.mean(values) for cell, values in cells.items()}
    assert found.score == approximately(mean(means.values()))
    assert found.counts["pairs"] == sum(map(len, cells.values()))
    assert found.counts["undefined"] == undefined
    for code, language in enumerate(rankings.names):
        own = [value for cell, value in means.items() if code in cell]
        assert found.by_language.get(language) == approximately(mean(own))


def check_peer(rankings, peer):
    """Check PEER of each level of relevance, of which the candidates may have none."""
    place = np.argsort(rankings.order, axis=1) + 1
    by_level = {"non-relevant": [], "grade 1": [], "grade 2": []}
    for query in range(rankings.num_queries):
        grades = rankings.grades[rankings.relevants.query_rows == query]
        grade_of = dict(zip(rankings.judged[query], grades, strict=True))
        documents = {level: [] for level in by_level}
        for candidate in range(rankings.num_candidates):
            grade, rank = grade_of.get(candidate), place[query, candidate]
            if grade or rank <= rankings.k:
                level = f"grade {grade}" if grade else "non-relevant"
                documents[level].append((rankings.candidate_languages[candidate], rank))
        for level, some in documents.items():
            by_level[level].append(slow_peer(some, rankings.k))
    for level, values in by_level.items():
        if level not in peer:
            assert set(rankings.grades.tolist()) < {1, 2}
            continue
        languages = rankings.query_languages
        of_language = [
            mean(value for value, x in zip(values, languages, strict=True) if x == code)
            for code in np.unique(languages)
        ]
        assert peer[level].score == approximately(mean(of_language))
        assert peer[level].counts["left_out"] == np.isnan(values).sum()


def check_shares(rankings, bias):
    """Check the languages of the first 20, and their gap to those of the pool."""
    names, languages = rankings.names, rankings.candidate_languages
    shares = {}
    for x in np.unique(rankings.query_languages):
        found = languages[rankings.first[rankings.query_languages == x]]
        shares[names[x]] = [np.mean(found == y) for y in range(3)]
    for x, expected in shares.items():
        assert list(bias.language_share[x].values()) == pytest.approx(expected)
    pool = np.array([np.mean(languages == y) for y in range(3)])
    gap = np.mean([np.abs(np.array(share) - pool).sum() / 2 for share in shares.values()])
    assert bias.language_share_gap == pytest.approx(gap)
