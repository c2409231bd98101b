"""The first k are those of a full sort, ties included, and a score is that of its two vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_fast import _core
from hybrid_fast.evaluation.segments import DocumentScores
from hybrid_fast.retrieval.exact_search import BYTES_PER_HIT, TILE_ROWS, search, search_tiles
from hybrid_fast.retrieval.scores import dot_products


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


@pytest.mark.parametrize("dimension", [3, 384, 700])
def test_a_score_is_the_same_whatever_else_is_searched(dimension):
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((30, dimension), dtype=np.float32)
    candidates = rng.standard_normal((200, dimension), dtype=np.float32)
    candidates[190:] = candidates[:10]
    hits = search(queries, candidates, 200)
    for query, candidate in [(0, 0), (7, 64), (29, 199)]:
        alone = search(queries[query][None], candidates[candidate][None], 1)
        assert alone.scores[0, 0] == hits.scores[query, hits.rows[query] == candidate]
    np.testing.assert_allclose(
        np.take_along_axis(queries @ candidates.T, hits.rows, 1), hits.scores, rtol=1e-4, atol=1e-4
    )
    places = np.argsort(hits.rows, axis=1)
    assert (places[:, 190:] > places[:, :10]).all(), "of equal vectors the first one is first"
    of_rows = np.take_along_axis(hits.scores, places, 1)
    np.testing.assert_array_equal(of_rows[:, 190:], of_rows[:, :10])


def test_scores_are_those_of_counting_to_the_bit():
    rng = np.random.default_rng(1)
    queries, candidates = (rng.standard_normal((n, 390), dtype=np.float32) for n in (9, 70))
    hits = search(queries, candidates, 70)
    scores = np.empty((3, 70), np.float32)
    dot_products(queries, candidates)(np.array([8, 0, 4]), scores)
    np.testing.assert_array_equal(
        np.take_along_axis(scores, hits.rows[[8, 0, 4]], 1), hits.scores[[8, 0, 4]]
    )


def test_deep_searches_hold_few_queries_at_a_time(monkeypatch):
    held = []
    search_core = _core.search

    def watched(queries, candidates, k, **options):
        held.append(BYTES_PER_HIT * len(queries) * k)
        return search_core(queries, candidates, k, **options)

    monkeypatch.setattr(_core, "search", watched)
    monkeypatch.setattr("hybrid_fast.retrieval.exact_search.TILE_BYTES", 100_000)
    hits = search(np.ones((99, 4), np.float32), np.ones((900, 4), np.float32), 30)
    assert hits.rows.tolist() == [list(range(30))] * 99
    assert max(held) <= 100_000 < sum(held)


def test_rows_that_cannot_be_written_and_columns_side_by_side_are_read():
    candidates = np.asfortranarray(np.eye(5, dtype=np.float32)[:, ::-1])
    candidates.flags.writeable = False
    hits = search(np.eye(5, dtype=np.float32), candidates, 1)
    assert hits.rows[:, 0].tolist() == [4, 3, 2, 1, 0]


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
