"""Scores of documents are the highest, or the mean of the highest, of their segments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_fast.evaluation.segments import DocumentScores
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask


@settings(deadline=None)
@given(
    seed=st.integers(0, 999),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    rule=st.sampled_from(["max", "mean@1", "mean@2", "mean@3", "mean@9"]),
)
def test_equals_the_definition(seed, sizes, rule):
    starts = np.cumsum([0, *sizes[:-1]])
    scores = np.random.default_rng(seed).integers(-9, 9, (4, sum(sizes))).astype(np.float32)
    found = DocumentScores(rule, starts, sum(sizes))(scores)
    count = 1 if rule == "max" else int(rule.removeprefix("mean@"))
    expected = [
        [
            np.mean(sorted(row[start : start + size], reverse=True)[:count], dtype=np.float64)
            for start, size in zip(starts, sizes, strict=True)
        ]
        for row in scores.tolist()
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("rule", ["mean", "mean@0", "min", "max@2", "mean@x"])
def test_unknown_rule(rule):
    with pytest.raises(ValueError, match=r"it must be 'max' or 'mean@k'"):
        DocumentScores(rule, np.array([0]), 1)


def segmented_task(rule="max"):
    segments = [("d2", "en"), ("d1", "de"), ("d1", "de"), ("d3", "en"), ("d3", "en")]
    return RetrievalTask(
        "t",
        [Query("q", "en", "?")],
        [Candidate(each, lang, f"{each} {n}") for n, (each, lang) in enumerate(segments)],
        qrels={"q": {"d1": 1, "d3": 2}},
        document_score=rule,
    )


def test_task_ranks_documents_of_segments():
    """Segments by language: d1 d1 | d2 d3 d3; d3 has the best one, d1 the best mean of two."""
    query = np.array([[1.0]], dtype=np.float32)
    segments = np.array([[6], [5], [4], [8], [0]], dtype=np.float32)
    best = segmented_task().score(query, segments)
    assert best.grid["map"]["en"] == {"de": 1.0, "en": 1.0, "all": 1.0}
    assert best.metrics["multi"]["ndcg@10"] == 1.0
    assert best.counts.candidates == {"de": 1, "en": 2}
    assert (best.counts.pool, best.counts.other["segments"]) == (3, 5)
    assert best.info.settings["document_score"] == "max"
    mean = segmented_task("mean@2").score(query, segments)
    # Means: d1 5.5, d2 4, d3 4; d2 stands before d3.
    assert mean.grid["map"]["en"] == {"de": 1.0, "en": 0.5, "all": (1 + 2 / 3) / 2}


def test_documents_need_qrels_and_contiguous_segments():
    with pytest.raises(ValueError, match="document_score needs qrels"):
        RetrievalTask("t", [Query("q", "en", "?")], [], document_score="max")
    with pytest.raises(ValueError, match="candidate id 'd1' occurs more than once"):
        RetrievalTask(
            "t",
            [Query("q", "en", "?")],
            [Candidate(each, "en", "text") for each in ("d1", "d2", "d1")],
            qrels={"q": {"d1": 1}},
            document_score="max",
        )
