"""Relevants by judgements, graded or not; unknown and repeated ids; queries without any."""

import math

import numpy as np
import pytest

from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.evaluation.tasks.queries import check_languages


def judged_task(qrels, **options):
    queries = [Query("1", "de", "a"), Query("1", "en", "b"), Query("2", "en", "c")]
    candidates = [Candidate(c, "de" if c in "xy" else "en", c) for c in "wxyz"]
    return RetrievalTask("judged", queries, candidates, qrels=qrels, **options)


def test_graded_judgements_serve_every_translation_of_a_query():
    task = judged_task({"1": {"z": 1, "x": 3, "w": 0}, "2": {"y": -1}}, more_metrics=["ndcg@2"])
    ids = task.candidates.ids
    assert ids == ["x", "y", "w", "z"]
    assert [ids[row] for row in task.relevants.rows] == ["x", "z", "x", "z"]
    assert task.relevants.grades.tolist() == [3, 1, 3, 1]
    # Order z, y, x, w for every query.
    results = task.score(np.ones((3, 1)), np.array([[2.0], [3.0], [1.0], [4.0]]))
    best = 3 + 1 / math.log2(3)
    assert results.metrics["multi"]["ndcg@2"] == pytest.approx(1 / best)
    assert results.metrics["multi"]["ndcg@10"] == pytest.approx((1 + 3 / math.log2(4)) / best)
    assert results.counts.dropped["en"] == {"de": 1, "en": 1}


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        ({"3": {"x": 1}, "1": {"x": 1}}, "qrels name 1 queries that the task lacks: '3'"),
        ({"1": dict.fromkeys("abcdx", 0)}, "qrels name 4 candidates .* 'a', 'b', 'c' ..."),
    ],
)
def test_judgements_of_unknown_ids(qrels, message):
    with pytest.raises(ValueError, match=message):
        judged_task(qrels, strict=True)


def test_judgements_need_ids_that_are_unique():
    candidates = [Candidate("x", "de", "p"), Candidate("x", "en", "p")]
    with pytest.raises(ValueError, match="candidate id 'x' occurs more than once"):
        RetrievalTask("t", [Query("1", "de", "a")], candidates, qrels={})


def test_queries_that_nothing_answers_are_reported(caplog):
    queries = [Query("1", "de", "a"), Query("2", "de", "b"), Query("1", "en", "c")]
    candidates = [Candidate("x", "en", "d"), Candidate("y", "en", "e")]
    task = RetrievalTask("judged", queries, candidates, qrels={"1": {"x": 1}, "2": {"x": 0}})
    assert caplog.messages == [
        "task 'judged': queries without a relevant candidate are left out: de 1 of 2"
    ]
    results = task.score(np.ones((3, 2)), np.ones((2, 2)))
    assert results.counts.other["without_relevants"] == {"de": 1, "en": 0}
    assert results.counts.dropped == {"de": {"de": 2, "en": 1}, "en": {"de": 1, "en": 0}}


def test_languages_by_the_codes_of_individual_languages():
    known = ("ar", "fa", "sw", "zh")
    given = ["swh_Latn", "cmn", "zh-Hant", "arb_Arab", "pes_Arab"]
    assert check_languages(given, known, "t") == ("sw", "zh", "ar", "fa")
    with pytest.raises(ValueError, match="task 't' has no deu_Latn, xyzzy; its languages are ar"):
        check_languages(["ar", "deu_Latn", "xyzzy"], known, "t")
    with pytest.raises(TypeError, match="a language code must be text, got 5"):
        check_languages([5], known, "t")
