"""Intervals and p-values equal scipy's and the definitions; questions are drawn as a whole."""

import numpy as np
import pytest
from scipy import stats

from hybrid_fast.evaluation import Candidate, PerQuery, Query, RetrievalTask, compare_runs
from hybrid_fast.evaluation.significance import QuestionSums, holm

NAN = np.nan


def one_language(values):
    """Scores of a monolingual task, one query a question."""
    scores = np.column_stack([values, values])
    ids = np.array([f"q{number}" for number in range(len(values))])
    return PerQuery(ids, np.full(len(ids), "en"), ("en",), {"map": scores})


def random_run(seed, shift=0.0):
    """A run of a task in which groups lack languages and some queries have no relevants."""
    rng = np.random.default_rng(0)
    languages = ("ar", "de", "en")
    present = [(f"g{g}", x) for g in range(40) for x in languages if rng.random() < 0.8]
    answered = [(g, x) for g, x in present if rng.random() < 0.8]
    queries = [Query(g, x, "q") for g, x in present]
    candidates = [Candidate(f"{x}{g}", x, "c", (g,)) for g, x in answered]
    task = RetrievalTask("random", queries, candidates)
    rng = np.random.default_rng(seed)
    groups = np.random.default_rng(1).standard_normal((40, 8))
    q, c = (
        groups[[int(each[1:] if side == "q" else each[3:]) for each in texts.ids]]
        + rng.standard_normal((len(texts), 8)) * (1.5 - shift)
        for side, texts in (("q", task.queries), ("c", task.candidates))
    )
    return task.score(q, c)


def rows_of(rows, **chosen):
    return [
        row for row in rows if all(getattr(row, name) == value for name, value in chosen.items())
    ]


def test_scores_are_those_of_the_results():
    results = random_run(1)
    compared = compare_runs({"a": [results.per_query]}, num_bootstrap=50, num_exchanges=50)
    for setting, metrics in results.metrics.items():
        (row,) = rows_of(compared.scores, setting=setting, metric="map", language=None)
        assert row.score == pytest.approx(metrics["map"], abs=1e-12)
        assert row.low < row.score < row.high
    for language, grid in results.grid["map"].items():
        own = {
            row.setting: row.score
            for row in rows_of(compared.scores, language=language, metric="map")
        }
        others = [grid[x] for x in results.grid["map"] if x != language]
        expected = {"mono": grid[language], "cross": np.mean(others), "multi": grid["all"]}
        assert own == pytest.approx(expected, abs=1e-12)
    (row,) = rows_of(compared.scores, metric="rank_distance", language=None)
    assert row.setting == "multi"
    assert row.score == pytest.approx(results.language_bias.rank_distance.mean)
    assert compared.differences == ()


def test_shares_of_questions_add_up_to_the_scores():
    sums = QuestionSums.of(random_run(2).per_query, "map")
    np.testing.assert_allclose(sums.contributions().sum(axis=0), sums.scores()[0], rtol=1e-12)


def test_p_value_equals_scipys_over_all_exchanges():
    rng = np.random.default_rng(0)
    a = rng.random(9)
    b = a - rng.random(9) * [1, -1, 1, 1, 1, -1, 1, 1, 1] / 2
    exact = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    compared = compare_runs(
        {"a": [one_language(a)], "b": [one_language(b)]}, ["map"], num_exchanges=40_000
    )
    (row,) = rows_of(compared.differences, setting="mono", language=None)
    assert row.score == pytest.approx(np.mean(a - b))
    assert row.p == pytest.approx(exact.pvalue, abs=0.01)


def test_exchanges_that_leave_the_difference_as_it_is_count():
    """Of two questions, one differs: whatever is exchanged, the difference is as large."""
    compared = compare_runs(
        {"a": [one_language([0.1, 0.7])], "b": [one_language([0.1, 0.4])]}, ["map"]
    )
    assert {row.p for row in compared.differences} == {1.0}


def test_interval_equals_scipys_bootstrap():
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 200))
    theirs = stats.bootstrap(
        (a - b,), np.mean, n_resamples=20_000, method="percentile", rng=rng
    ).confidence_interval
    compared = compare_runs(
        {"a": [one_language(a)], "b": [one_language(b)]}, ["map"], num_bootstrap=20_000
    )
    (row,) = rows_of(compared.differences, setting="multi", language=None)
    assert (row.low, row.high) == pytest.approx(tuple(theirs), abs=2e-3)


def test_translations_are_drawn_together():
    """Copies of a question in other languages make no score more certain."""
    values = np.random.default_rng(4).random((2, 50))
    runs, copies = {}, {}
    for label, own in zip("ab", values, strict=True):
        runs[label] = [one_language(own)]
        scores = np.column_stack([np.tile(own, 3)] * 4)
        ids = np.tile(runs[label][0].ids, 3)
        languages = np.repeat(["de", "en", "th"], 50)
        copies[label] = [PerQuery(ids, languages, ("de", "en", "th"), {"map": scores})]
    (one,) = rows_of(compare_runs(runs, ["map"]).differences, setting="mono", language=None)
    for setting in ("mono", "cross", "multi"):
        (three,) = rows_of(
            compare_runs(copies, ["map"]).differences, setting=setting, language=None
        )
        for name in ("score", "low", "high", "p"):
            assert getattr(three, name) == pytest.approx(getattr(one, name), abs=1e-12)


def test_equal_runs_do_not_differ_and_different_ones_do():
    same, better, worse = random_run(5), random_run(6, shift=1.2), random_run(7)
    compared = compare_runs({"a": [same.per_query], "b": [same.per_query]})
    for row in compared.differences:
        assert (row.score, row.low, row.high) == (0, 0, 0)
        assert row.p == row.p_holm == 1
    compared = compare_runs({"better": [better.per_query], "worse": [worse.per_query]})
    for row in rows_of(compared.differences, language=None, metric="map"):
        assert 0 < row.low < row.score < row.high
        assert row.p == pytest.approx(1 / 10_001)
        assert row.p < row.p_holm < 0.001
    (row,) = rows_of(compared.differences, language=None, metric="rank_distance")
    assert row.high < 0
    assert compared == compare_runs({"better": [better.per_query], "worse": [worse.per_query]})


def test_seeds_are_averaged_query_by_query():
    a, b = np.random.default_rng(8).random((2, 30))
    mean = compare_runs({"m": [one_language((a + b) / 2)]}, ["map"])
    seeds = compare_runs({"m": [one_language(a), one_language(b)]}, ["map"])
    for one, other in zip(mean.scores, seeds.scores, strict=True):
        for name in ("score", "low", "high"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-12)


def test_families_of_holm():
    """Four differences over all languages in one family, those of one language in another."""
    runs = {name: [random_run(seed).per_query] for name, seed in (("a", 1), ("b", 2), ("c", 3))}
    differences = compare_runs(runs, num_exchanges=999).differences
    overall = rows_of(differences, language=None)
    assert len(overall) == 3 * 4
    single = [row for row in differences if row.language is not None]
    for family in (overall, single):
        expected = holm([row.p for row in family])
        assert [row.p_holm for row in family] == pytest.approx(expected)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.5]), [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_array_equal(holm([0.9, 0.6]), [1, 1])
    assert holm([]).size == 0


def test_metric_that_no_query_has():
    run = one_language([0.5, 0.25])
    run.scores["rank_distance"] = np.full((2, 2), NAN)
    compared = compare_runs({"a": [run], "b": [run]})
    assert {row.metric for row in compared.differences} == {"map"}


def test_runs_that_cannot_be_compared():
    run, other = one_language([0.5, 0.25]), one_language([0.5, NAN])
    for bad in (other, one_language([0.5]), random_run(1).per_query):
        with pytest.raises(ValueError, match="runs 'a' and 'b' were not measured on the same"):
            compare_runs({"a": [run], "b": [bad]}, ["map"])
    with pytest.raises(ValueError, match="run 'a' has no scores by query of mrr; it has map"):
        compare_runs({"a": [run]}, ["map", "mrr"])
    for nothing in ({}, {"a": []}):
        with pytest.raises(ValueError, match="there are no runs to compare"):
            compare_runs(nothing)
    with pytest.raises(ValueError, match="num_bootstrap is 0 and num_exchanges 10000; both must"):
        compare_runs({"a": [run]}, ["map"], num_bootstrap=0)
