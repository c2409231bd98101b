"""Metrics equal cases worked by hand and trec_eval; means leave out what is not there."""

import numpy as np
import pytest
import pytrec_eval

from hybrid_fast.evaluation.metrics import (
    average_cells,
    average_settings,
    count_dropped,
    find_metrics,
    mean_known,
    score_cells,
    score_queries,
    to_number,
)
from hybrid_fast.evaluation.ranks import Ranks, Relevants, rank_relevants
from hybrid_fast.retrieval.scores import dot_products

NAN, L = np.nan, np.log2


def score(offsets, rows, in_language, in_pool, candidate_languages, num_languages):
    relevants = Relevants(np.array(offsets), np.array(rows, dtype=np.int64))
    ranks = Ranks(np.array(in_language), np.array(in_pool))
    return score_queries(relevants, ranks, np.array(candidate_languages), num_languages)


def test_two_queries_by_hand():
    # Query 0: candidates 0 (of language 0, rank 1 there, 3 of all) and 2 (language 1, 2 and 30).
    # Query 1: candidates 2 and 3, both of language 1, at ranks 4 and 1 there, 12 and 2 of all.
    by_query = score([0, 2, 4], [0, 2, 2, 3], [1, 2, 4, 1], [3, 30, 12, 2], [0, 0, 1, 1], 2)
    expected = {
        "map": [[1, 1 / 2, (1 / 3 + 2 / 30) / 2], [NAN, (1 + 2 / 4) / 2, (1 / 2 + 2 / 12) / 2]],
        "map@20": [[1, 1 / 2, (1 / 3) / 2], [NAN, (1 + 2 / 4) / 2, (1 / 2 + 2 / 12) / 2]],
        "ndcg@10": [
            [1, 1 / L(3), (1 / L(4)) / (1 + 1 / L(3))],
            [NAN, (1 + 1 / L(5)) / (1 + 1 / L(3)), (1 / L(3)) / (1 + 1 / L(3))],
        ],
        "mrr@10": [[1, 1 / 2, 1 / 3], [NAN, 1, 1 / 2]],
        "recall@1": [[1, 0, 0], [NAN, 1 / 2, 0]],
        "recall@10": [[1, 1, 1 / 2], [NAN, 1, 1 / 2]],
    }
    assert by_query.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(by_query[name], values, rtol=0, atol=1e-15, err_msg=name)


def test_query_without_any_relevant_has_no_scores():
    by_query = score([0, 0, 1], [0], [1], [1], [0], 1)
    np.testing.assert_array_equal(by_query["map"], [[NAN, NAN], [1, 1]])


def test_divisor_of_map_at_20_is_at_most_20():
    rows = np.arange(40)
    by_query = score([0, 40], rows, rows + 1, rows + 1, np.zeros(40, int), 1)
    np.testing.assert_allclose(by_query["map@20"], 1, rtol=1e-15)
    np.testing.assert_allclose(by_query["recall@10"], 10 / 40, rtol=1e-15)


def test_cells_and_settings_by_hand():
    by_query = np.array([[0.5, NAN, 0.25], [1.0, 0.5, 0.75], [0.25, NAN, NAN]])
    query_languages = np.array([0, 0, 1])
    cells = average_cells(by_query, query_languages, 2)
    np.testing.assert_array_equal(cells, [[0.75, 0.5, 0.5], [0.25, NAN, NAN]])
    assert average_settings(cells) == {"mono": 0.75, "cross": 0.375, "multi": 0.5}
    dropped = count_dropped(by_query, query_languages, 2)
    np.testing.assert_array_equal(dropped, [[0, 1, 0], [0, 1, 1]])


def test_language_without_queries_has_empty_cells():
    cells = average_cells(np.array([[1.0, 0.5, 0.5]]), np.array([0]), 2)
    np.testing.assert_array_equal(cells, [[1.0, 0.5, 0.5], [NAN, NAN, NAN]])
    assert average_settings(cells) == {"mono": 1.0, "cross": 0.5, "multi": 0.5}


def test_one_language_has_no_cross():
    assert average_settings(np.array([[0.5, 0.5]])) == {"mono": 0.5, "cross": None, "multi": 0.5}


def test_mean_of_nothing_is_no_score():
    assert to_number(mean_known(np.array([NAN, NAN]))) is None
    assert to_number(mean_known(np.array([NAN, 0.25]))) == 0.25


def test_graded_relevance_by_hand():
    """Grades 1, 3, 2 at ranks 1, 4 and nowhere; the best order is 3, 2, 1."""
    metrics = ["ndcg", "ndcg@2", "ndcg@4", "map", "map_cut@1", "map@2", "success@1", "mrr"]
    values = score_cells(
        np.array([1, 1, 1]), np.array([4, np.inf, 1]), np.array([3, 2, 1]), 2, metrics
    )
    best = 3 + 2 / L(3) + 1 / L(4)
    expected = {
        "ndcg": (1 + 3 / L(5)) / best,
        "ndcg@2": 1 / (3 + 2 / L(3)),
        "ndcg@4": (1 + 3 / L(5)) / best,
        "map": (1 + 2 / 4) / 3,
        "map_cut@1": 1 / 3,
        "map@2": 1 / 2,
        "success@1": 1,
        "mrr": 1,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], [NAN, value], rtol=1e-15, err_msg=name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["map", "nDCG@10"], r"no metric 'nDCG@10'; known are map, ndcg, mrr, .*did you mean"),
        (["recall"], r"metric 'recall' needs a cutoff of at least 1, as in 'recall@10'"),
        (["map@"], "metric 'map@' needs a cutoff"),
        (["map@0"], "metric 'map@0' needs a cutoff"),
        (["mrr@1.5"], "needs a cutoff"),
        ([], "no metric is given"),
    ],
)
def test_unknown_metrics(names, message):
    with pytest.raises(ValueError, match=message):
        find_metrics(names)


def test_metrics_as_one_text():
    with pytest.raises(TypeError, match="metrics is the text 'map'; give a list"):
        find_metrics("map")


def test_equals_trec_eval():
    """Whole numbers make scores exact in float32; without ties the order is trec_eval's."""
    rng = np.random.default_rng(0)
    queries = rng.integers(-700, 701, (40, 8)).astype(np.float32)
    candidates = rng.integers(-700, 701, (150, 8)).astype(np.float32)
    counts = rng.integers(1, 25, len(queries))
    rows = [rng.choice(150, count, replace=False) for count in counts]
    scores = queries @ candidates.T
    assert all(len(np.unique(row)) == 150 for row in scores)
    relevants = Relevants(np.cumsum([0, *counts]), np.concatenate(rows))
    ranks = rank_relevants(dot_products(queries, candidates), np.array([0, 150]), relevants)
    ours = score_queries(relevants, ranks, np.zeros(150, int), 1)

    qrels = {f"q{i}": {f"c{j}": 1 for j in some} for i, some in enumerate(rows)}
    run = {f"q{i}": {f"c{j}": float(s) for j, s in enumerate(row)} for i, row in enumerate(scores)}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"map", "recall.1,10"})
    theirs = evaluator.evaluate(run)
    names = {"map": "map", "recall@1": "recall_1", "recall@10": "recall_10"}
    for name, trec_name in names.items():
        expected = [theirs[f"q{i}"][trec_name] for i in range(len(queries))]
        assert ours[name][:, 1] == pytest.approx(expected, abs=1e-6)
        np.testing.assert_array_equal(ours[name][:, 0], ours[name][:, 1])
