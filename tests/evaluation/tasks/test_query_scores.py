"""All scores of a task equal an independent slow evaluation, ties included, and so do extremes."""

import json
import math
import statistics
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tasks import LANGUAGES, one_hot, parallel_task, random_task

from hybrid_fast.evaluation.metrics import METRICS
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.results import RunInfo


def slow_scores(queries, candidates, scores):
    """Everything from the definitions, one query and one pool at a time, in plain Python."""
    queries = sorted(queries, key=lambda query: query.lang)
    candidates = sorted(candidates, key=lambda candidate: candidate.lang)
    names = ("map", "map@20", "ndcg@10", "mrr@10", "recall@1", "recall@10")
    cells, distances, dropped = {}, {}, {}
    for i, query in enumerate(queries):
        for pool in (*LANGUAGES, "all"):
            rows = [j for j, c in enumerate(candidates) if pool in (c.lang, "all")]
            order = sorted(rows, key=lambda j: (-scores[i][j], j))
            ranks = [n for n, j in enumerate(order, 1) if query.id in candidates[j].query_ids]
            if not ranks:
                dropped[query.lang, pool] = dropped.get((query.lang, pool), 0) + 1
                continue
            gains = [found / rank for found, rank in enumerate(ranks, 1)]
            early = [gain for gain, rank in zip(gains, ranks, strict=True) if rank <= 20]
            values = (
                sum(gains) / len(ranks),
                sum(early) / min(len(ranks), 20),
                sum(1 / math.log2(rank + 1) for rank in ranks if rank <= 10)
                / sum(1 / math.log2(n + 1) for n in range(1, min(len(ranks), 10) + 1)),
                1 / ranks[0] if ranks[0] <= 10 else 0,
                sum(rank <= 1 for rank in ranks) / len(ranks),
                sum(rank <= 10 for rank in ranks) / len(ranks),
            )
            for name, value in zip(names, values, strict=True):
                cells.setdefault((name, query.lang, pool), []).append(value)
            if pool == "all" and len(ranks) > 1:
                distances.setdefault(query.lang, []).append(ranks[-1] - ranks[0])

    grid = {cell: statistics.fmean(values) for cell, values in cells.items()}
    settings_of = {
        "mono": lambda x, pool: x == pool,
        "cross": lambda x, pool: pool not in (x, "all"),
        "multi": lambda x, pool: pool == "all",
    }
    metrics = {
        setting: {
            name: statistics.fmean(
                f for (n, x, y), f in grid.items() if n == name and belongs(x, y)
            )
            for name in names
        }
        for setting, belongs in settings_of.items()
    }
    means = {language: statistics.fmean(some) for language, some in distances.items()}
    medians = [statistics.median(some) for some in distances.values()]
    bias = {
        "rank_distance": statistics.fmean(means.values()),
        "rank_distance_median": statistics.fmean(medians),
        "rank_distance_normalised": statistics.fmean(means.values()) / len(candidates),
        "by_language": means,
    }
    return metrics, grid, bias, dropped


def approx(values):
    return {name: pytest.approx(value, abs=1e-12, rel=0) for name, value in values.items()}


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), levels=st.integers(1, 3), dim=st.integers(1, 4))
def test_equals_slow_evaluation(seed, levels, dim):
    queries, candidates = random_task(seed)
    task = RetrievalTask("random", queries, candidates)
    rng = np.random.default_rng(seed)
    q = rng.integers(-levels, levels + 1, (len(queries), dim)) / 4
    c = rng.integers(-levels, levels + 1, (len(candidates), dim)) / 4
    results = task.score(q, c).to_dict()
    metrics, grid, bias, dropped = slow_scores(queries, candidates, (q @ c.T).tolist())

    assert results["metrics"] == {setting: approx(values) for setting, values in metrics.items()}
    by_language = approx(bias.pop("by_language"))
    assert results["language_bias"]["by_language"] == by_language
    assert {name: results["language_bias"][name] for name in bias} == approx(bias)
    for name in ("map", "recall@1"):
        for x in LANGUAGES:
            for y in (*LANGUAGES, "all"):
                expected = grid.get((name, x, y))
                assert results["grid"][name][x][y] == pytest.approx(expected, abs=1e-12, rel=0)
    for x in LANGUAGES:
        for y in LANGUAGES:
            assert results["counts"]["dropped"][x][y] == dropped.get((x, y), 0)


def test_rank_distance_is_the_largest_over_pairs():
    queries, candidates = random_task(5)
    task = RetrievalTask("random", queries, candidates)
    rng = np.random.default_rng(5)
    q, c = (rng.standard_normal((n, 3)) for n in (len(queries), len(candidates)))
    scores = q.astype(np.float32) @ c.astype(np.float32).T
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1)
    largest = {language: [] for language in LANGUAGES}
    for i, code in enumerate(task.queries.language_codes):
        rows = task.relevants.rows[task.relevants.offsets[i] : task.relevants.offsets[i + 1]]
        pairs = [abs(int(ranks[i, a]) - int(ranks[i, b])) for a, b in combinations(rows, 2)]
        if pairs:
            largest[task.languages[code]].append(max(pairs))
    expected = {language: pytest.approx(np.mean(some)) for language, some in largest.items()}
    assert task.score(q, c).language_bias["by_language"] == expected


def test_perfect_embeddings():
    task = parallel_task()
    results = task.score(*one_hot(task))
    for setting in ("mono", "cross"):
        assert results.metrics[setting] == dict.fromkeys(METRICS, 1)
    assert results.metrics["multi"] == {**dict.fromkeys(METRICS, 1), "recall@1": 0.25}
    assert results.language_bias["rank_distance"] == len(LANGUAGES) - 1
    assert results.language_bias["rank_distance_normalised"] == 3 / 48
    assert results.counts["dropped"] == {x: dict.fromkeys(LANGUAGES, 0) for x in LANGUAGES}


def test_worst_embeddings_rank_last():
    task = parallel_task()
    queries, candidates = one_hot(task)
    results = task.score(-queries, candidates)
    assert results.grid["map"]["ar"]["de"] == 1 / 12
    assert results.metrics["multi"]["recall@10"] == 0
    assert results.language_bias["rank_distance"] == len(LANGUAGES) - 1


def test_language_bias_of_embeddings_that_see_only_the_language():
    """All candidates of the query's language come first, in order of position."""
    task = parallel_task(num_groups=2, languages=("de", "en"))
    by_language = np.repeat(np.eye(2), 2, axis=0)
    results = task.score(by_language, by_language)
    assert results.language_bias["by_language"] == {"de": 2.0, "en": 2.0}
    # Query 1: ranks 1 and 3 of the pool; query 2: ranks 2 and 4.
    expected = {"de": 0.75, "en": 0.75, "all": ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 4) / 2) / 2}
    assert results.grid["map"]["de"] == approx(expected)


def test_shape_of_results():
    task = parallel_task(languages=("de", "en"))
    results = task.score(*one_hot(task), info=RunInfo("m", "hybrid", 3)).to_dict()
    assert list(results) == [
        "task",
        "model",
        "kind",
        "seed",
        "versions",
        "settings",
        "metrics",
        "grid",
        "language_bias",
        "counts",
    ]
    assert [results[key] for key in ("task", "model", "kind", "seed")] == [
        "parallel",
        "m",
        "hybrid",
        3,
    ]
    assert results["settings"] == {
        "candidate_text": "passage",
        "max_length": None,
        "prompts": None,
        "dtype": "float64",
    }
    assert list(results["grid"]) == ["map", "recall@1"]
    assert list(results["grid"]["map"]["de"]) == ["de", "en", "all"]
    assert results["counts"] == {
        "queries": {"de": 12, "en": 12},
        "candidates": {"de": 12, "en": 12},
        "pool": 24,
        "dropped": {"de": {"de": 0, "en": 0}, "en": {"de": 0, "en": 0}},
        "without_relevants": {"de": 0, "en": 0},
    }
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert results["versions"]["numpy"] == np.__version__


def test_language_with_queries_or_candidates_only():
    task = RetrievalTask("lopsided", [Query("g", "de", "q")], [Candidate("c", "en", "p", ("g",))])
    results = task.score(np.ones((1, 2)), np.ones((1, 2)))
    assert results.grid["map"] == {"de": {"de": None, "en": 1.0, "all": 1.0}}
    assert results.metrics["mono"]["map"] is None
    assert results.flat() == {
        **{f"{setting}_{name}": 1.0 for setting in ("cross", "multi") for name in METRICS}
    }
    assert results.counts["queries"] == {"de": 1}
    assert results.counts["dropped"] == {"de": {"de": 1, "en": 0}}
    assert results.language_bias["by_language"] == {"de": None}
