"""The first k are those of a full sort, ties included, whatever FAISS keeps of equal scores."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_fast.evaluation.segments import DocumentScores
from hybrid_fast.retrieval.exact_search import BYTES_PER_HIT, TILE_ROWS, search, search_tiles


def sorted_rows(scores, k):
    """By definition: score descending, lower row first."""
    return np.array([sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in scores])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    num_queries=st.sampled_from([1, 3, 19, 20, 41]),
    num_candidates=st.sampled_from([1, 2, 7, 130, 300]),
    k=st.sampled_from([1, 2, 5, 99, 100, 150, 400]),
    levels=st.sampled_from([1, 2, 4, 50]),
)
def test_equals_a_full_sort(seed, num_queries, num_candidates, k, levels):
    """Small whole numbers: every product is exact, and few levels make ties everywhere."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-levels, levels, (num_queries, 3)).astype(np.float32)
    candidates = rng.integers(-levels, levels, (num_candidates, 3)).astype(np.float32)
    scores = queries @ candidates.T
    hits = search(queries, candidates, k)
    expected = sorted_rows(scores, k)
    np.testing.assert_array_equal(hits.rows, expected)
    np.testing.assert_array_equal(hits.scores, np.take_along_axis(scores, expected, axis=1))
    assert hits.rows.dtype == np.int64
    assert hits.scores.dtype == np.float32


def test_all_candidates_alike_come_in_order_of_rows():
    hits = search(np.ones((2, 4), np.float32), np.ones((500, 4), np.float32), 130)
    assert hits.rows.tolist() == [list(range(130))] * 2


def test_deep_searches_hold_few_queries_at_a_time(monkeypatch):
    """Candidates that all have one score make no matrix of queries by candidates."""
    held = []
    knn = faiss.knn

    def watched(queries, candidates, depth, metric):
        held.append(BYTES_PER_HIT * len(queries) * depth)
        return knn(queries, candidates, depth, metric=metric)

    monkeypatch.setattr("faiss.knn", watched)
    monkeypatch.setattr("hybrid_fast.retrieval.exact_search.TILE_BYTES", 100_000)
    hits = search(np.ones((64, 4), np.float32), np.ones((900, 4), np.float32), 30)
    assert hits.rows.tolist() == [list(range(30))] * 64
    assert max(held) <= 100_000


def test_tiles_are_the_whole_search():
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((TILE_ROWS + 5, 4), dtype=np.float32)
    candidates = rng.standard_normal((9, 4), dtype=np.float32)
    tiles = list(search_tiles(queries, candidates, 3))
    assert [len(rows) for rows, _ in tiles] == [TILE_ROWS, 5]
    assert np.concatenate([rows for rows, _ in tiles]).tolist() == list(range(len(queries)))
    found = np.concatenate([hits.rows for _, hits in tiles])
    np.testing.assert_array_equal(found, sorted_rows(queries @ candidates.T, 3))


def test_documents_of_segments():
    queries = np.eye(2, dtype=np.float32)
    segments = np.array([[3, 0], [1, 1], [2, 5], [2, 2], [2, 0]], dtype=np.float32)
    best = DocumentScores("max", np.array([0, 2, 3]), len(segments))
    ((rows, hits),) = search_tiles(queries, segments, 2, document_scores=best)
    assert rows.tolist() == [0, 1]
    assert hits.rows.tolist() == [[0, 1], [1, 2]]
    assert hits.scores.tolist() == [[3, 2], [5, 2]]


@pytest.mark.parametrize(
    ("queries", "candidates", "k", "message"),
    [
        (np.ones((1, 2)), np.ones((3, 2)), 0, "k is 0; it must be at least 1"),
        (np.ones((1, 2)), np.ones((3, 4)), 1, r"shape \(1, 2\) and candidates \(3, 4\)"),
        (np.ones((1, 2)), np.ones((0, 2)), 1, "no candidates"),
        (np.full((1, 2), 1e30), np.full((3, 2), 1e30), 1, "beyond float32"),
        (np.full((1, 2), np.nan), np.ones((3, 2)), 1, "queries: row 0 holds NaN or infinity"),
        (np.ones((1, 2)), np.full((3, 2), np.nan), 1, "candidates: row 0 holds NaN or infinity"),
        (np.zeros((1, 2)), np.array([[1, 1], [1, np.inf]]), 1, "candidates: row 1 holds NaN"),
    ],
)
def test_bad_input(queries, candidates, k, message):
    with pytest.raises(ValueError, match=message):
        search(queries.astype(np.float32), candidates.astype(np.float32), k)


def test_no_queries():
    assert search(np.ones((0, 2), np.float32), np.ones((3, 2), np.float32), 2).rows.shape == (0, 2)
