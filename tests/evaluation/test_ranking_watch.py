"""Language bias from full rankings: a blind and a biased model by hand, and slow definitions."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from hybrid_fast.evaluation.language_bias import (
    RankingWatch,
    equal_rank_probabilities,
    language_preferences,
    summarise_rankings,
)
from hybrid_fast.evaluation.ranks import Relevants, rank_relevants
from hybrid_fast.retrieval.scores import dot_products

NAN = np.nan


def parallel(num_languages, num_groups):
    """Languages and groups of texts in the order of languages, one text of each group in each."""
    languages = np.repeat(np.arange(num_languages, dtype=np.int32), num_groups)
    return languages, np.tile(np.arange(num_groups), num_languages)


def summarise(scores, languages, groups):
    """Return the bias figures of scores of parallel queries and candidates."""
    num_languages = int(languages.max()) + 1
    rows = [np.flatnonzero(groups == group) for group in groups]
    relevants = Relevants(np.arange(len(groups) + 1) * num_languages, np.concatenate(rows))
    watch = RankingWatch(groups, languages, languages, num_languages, relevants)
    order = np.argsort(groups, kind="stable")
    for part in np.array_split(order, groups.max() + 1):
        watch(part, scores[part].astype(np.float32))
    ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1) + 1
    pool_ranks = ranks[relevants.query_rows, relevants.rows]
    return summarise_rankings(watch, pool_ranks, tuple("abcd"[:num_languages]))


def blind_scores(languages, groups):
    """Groups by their distance; within a group the languages in turns, whoever asks."""
    turns = (languages + groups) % 4
    return -(100.0 * np.abs(groups[:, None] - groups) + 10 * (groups > groups[:, None]) + turns)


def test_blind_model():
    languages, groups = parallel(4, 32)
    bias = summarise(blind_scores(languages, groups), languages, groups)
    equal = dict.fromkeys("abcd", 0.25)
    assert bias["pool_share"] == equal
    assert bias["language_share@20"] == dict.fromkeys("abcd", equal)
    assert bias["language_share_gap@20"] == 0
    assert bias["query_language_preference"] == {
        "figure": 0.25,
        "chance": 0.25,
        "by_language": equal,
        "queries": 128,
        "left_out": 0,
    }
    for name in ("mrc", "mrc@20"):
        assert bias[name]["figure"] == pytest.approx(1)
        assert bias[name]["by_language"] == pytest.approx(dict.fromkeys("abcd", 1))
        assert (bias[name]["pairs"], bias[name]["undefined"]) == (32 * 6, 0)
    assert bias["peer@20"]["non-relevant"]["figure"] > 0.9
    assert bias["peer@20"]["relevant"]["figure"] is None
    assert bias["peer@20"]["relevant"]["left_out"] == 128


def test_model_that_puts_its_own_language_first():
    """Ranks of the two languages are exchanged: each of 2n differs by n."""
    languages, groups = parallel(2, 32)
    semantic = -np.abs(groups[:, None] - groups) - 0.5 * (groups > groups[:, None])
    bias = summarise(1000.0 * (languages[:, None] == languages) + semantic, languages, groups)
    assert bias["language_share@20"] == {"a": {"a": 1, "b": 0}, "b": {"a": 0, "b": 1}}
    assert bias["language_share_gap@20"] == 0.5
    assert bias["query_language_preference"]["by_language"] == {"a": 1, "b": 1}
    assert bias["query_language_preference"]["chance"] == 0.5
    assert bias["mrc"]["figure"] == pytest.approx(1 - 6 * 64 * 32**2 / (64 * (64**2 - 1)))
    # Of the union of 40, 20 columns of one language before 20 of the other.
    assert bias["mrc@20"]["figure"] == pytest.approx(1 - 6 * 40 * 20**2 / (40 * (40**2 - 1)))
    # All that is not relevant in the first 20 has one language: no test.
    assert bias["peer@20"]["non-relevant"] == {
        "figure": None,
        "by_language": {"a": None, "b": None},
        "queries": 0,
        "left_out": 64,
    }


def test_scores_that_are_one_tie_have_no_correlation():
    languages, groups = parallel(2, 5)
    bias = summarise(np.zeros((10, 10)), languages, groups)
    for name in ("mrc", "mrc@20"):
        assert bias[name] == {"figure": None, "by_language": {}, "pairs": 0, "undefined": 5}


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


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    levels=st.integers(1, 3),
    num_candidates=st.integers(1, 70),
    tile_bytes=st.sampled_from([1, 2**25]),
)
@example(seed=49, levels=1, num_candidates=28, tile_bytes=1)  # has a query whose PEER is 0 / 0
def test_equals_slow_definitions(seed, levels, num_candidates, tile_bytes):
    """Any languages, graded relevants, few distinct scores; correlations by scipy."""
    rng = np.random.default_rng(seed)
    num_languages, names, num_queries, k = 3, ("ar", "de", "en"), 20, 20
    query_languages = np.sort(rng.integers(0, num_languages, num_queries)).astype(np.int32)
    candidate_languages = np.sort(rng.integers(0, num_languages, num_candidates)).astype(np.int32)
    groups = rng.integers(0, 8, num_queries)
    judged = [
        np.sort(rng.choice(num_candidates, min(count, num_candidates), replace=False))
        for count in rng.integers(0, 7, num_queries)
    ]
    rows = np.concatenate(judged).astype(np.int64)
    grades = rng.integers(1, 3, len(rows))
    relevants = Relevants(np.cumsum([0, *map(len, judged)]), rows, grades)
    queries, candidates = (
        rng.integers(-levels, levels + 1, (n, 2)).astype(np.float32)
        for n in (num_queries, num_candidates)
    )
    watch = RankingWatch(groups, query_languages, candidate_languages, num_languages, relevants)
    starts = np.searchsorted(candidate_languages, np.arange(num_languages + 1))
    ranks = rank_relevants(
        dot_products(queries, candidates),
        starts,
        relevants,
        groups=groups,
        on_tile=watch,
        tile_bytes=tile_bytes,
    )
    bias = summarise_rankings(watch, ranks.in_pool, names)

    scores = queries @ candidates.T
    order = np.argsort(-scores, axis=1, kind="stable")
    first = order[:, :k]
    for cut, name in ((None, "mrc"), (k, "mrc@20")):
        cells, undefined = {}, 0
        for a, b in combinations(range(num_queries), 2):
            if groups[a] != groups[b] or query_languages[a] == query_languages[b]:
                continue
            some = np.arange(num_candidates)
            if cut is not None:
                some = np.union1d(first[a], first[b])
            if np.ptp(scores[a, some]) == 0 or np.ptp(scores[b, some]) == 0:
                undefined += 1
                continue
            cell = tuple(sorted((query_languages[a], query_languages[b])))
            mean_ranks = [stats.rankdata(scores[row, some]) for row in (a, b)]
            value = np.corrcoef(mean_ranks)[0, 1]
            cells.setdefault(cell, []).append(value)
        means = {cell: np.mean(values) for cell, values in cells.items()}
        assert bias[name]["figure"] == approximately(mean(means.values()))
        assert bias[name]["pairs"] == sum(map(len, cells.values()))
        assert bias[name]["undefined"] == undefined
        for code, language in enumerate(names):
            own = [value for cell, value in means.items() if code in cell]
            assert bias[name]["by_language"].get(language) == approximately(mean(own))

    place = np.argsort(order, axis=1) + 1
    by_level = {"non-relevant": [], "grade 1": [], "grade 2": []}
    for query in range(num_queries):
        grade_of = dict(zip(judged[query], grades[relevants.query_rows == query], strict=True))
        documents = {"non-relevant": [], "grade 1": [], "grade 2": []}
        for candidate in range(num_candidates):
            grade = grade_of.get(candidate)
            rank = place[query, candidate]
            if grade or rank <= k:
                level = f"grade {grade}" if grade else "non-relevant"
                documents[level].append((candidate_languages[candidate], rank))
        for level, some in documents.items():
            by_level[level].append(slow_peer(some, k))
    for level, values in by_level.items():
        if level not in bias["peer@20"]:
            assert set(grades.tolist()) < {1, 2}
            continue
        of_language = [
            mean(value for value, x in zip(values, query_languages, strict=True) if x == code)
            for code in np.unique(query_languages)
        ]
        found = bias["peer@20"][level]
        assert found["figure"] == approximately(mean(of_language))
        assert found["left_out"] == np.isnan(values).sum()

    shares = {
        names[x]: [np.mean(candidate_languages[first[query_languages == x]] == y) for y in range(3)]
        for x in np.unique(query_languages)
    }
    for x, expected in shares.items():
        assert list(bias["language_share@20"][x].values()) == pytest.approx(expected)
    pool = np.array([np.mean(candidate_languages == y) for y in range(3)])
    gap = np.mean([np.abs(np.array(share) - pool).sum() / 2 for share in shares.values()])
    assert bias["language_share_gap@20"] == pytest.approx(gap)
