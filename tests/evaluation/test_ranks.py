"""Ranks do not depend on tiles or torch's precision switches, and overflow is refused."""

import numpy as np
import pytest
import torch

from hybrid_fast.evaluation.ranks import Relevants, rank_relevants
from hybrid_fast.retrieval.scores import dot_products


def random_case(num_queries=70, num_candidates=300, dim=5, levels=2):
    """Small whole numbers, so that products are exact and ties are many."""
    rng = np.random.default_rng(0)
    queries = rng.integers(-levels, levels + 1, (num_queries, dim)).astype(np.float32)
    candidates = rng.integers(-levels, levels + 1, (num_candidates, dim)).astype(np.float32)
    counts = rng.integers(0, 4, num_queries)
    relevants = Relevants(
        np.cumsum([0, *counts]), rng.integers(0, num_candidates, counts.sum(), dtype=np.int64)
    )
    return queries, candidates, np.array([0, 100, 100, 300]), relevants


def slow_ranks(queries, candidates, starts, relevants):
    scores = queries.astype(np.float64) @ candidates.T
    in_language, in_pool = [], []
    for query, row in zip(relevants.query_rows, relevants.rows, strict=True):
        language = np.searchsorted(starts, row, side="right") - 1
        own = scores[query, row]
        places = np.arange(len(candidates))
        ahead = (scores[query] > own) | ((scores[query] == own) & (places < row))
        in_language.append(1 + ahead[starts[language] : starts[language + 1]].sum())
        in_pool.append(1 + ahead.sum())
    return in_language, in_pool


@pytest.mark.parametrize("tile_bytes", [1, 4 * 300 * 17, 4 * 300 * 70, 2**25])
def test_equals_definition_at_any_tile(tile_bytes):
    case = random_case()
    ranks = rank_relevants(dot_products(*case[:2]), *case[2:], tile_bytes=tile_bytes)
    in_language, in_pool = slow_ranks(*case)
    np.testing.assert_array_equal(ranks.in_language, in_language)
    np.testing.assert_array_equal(ranks.in_pool, in_pool)


def test_one_query_one_candidate():
    one = np.ones((1, 3), dtype=np.float32)
    relevants = Relevants(np.array([0, 1]), np.array([0]))
    ranks = rank_relevants(dot_products(one, one), np.array([0, 1]), relevants)
    assert ranks.in_language.tolist() == ranks.in_pool.tolist() == [1]


def test_no_relevants_at_all():
    queries, candidates, starts, _ = random_case()
    nothing = Relevants(np.zeros(len(queries) + 1, np.int64), np.empty(0, np.int64))
    assert rank_relevants(dot_products(queries, candidates), starts, nothing).in_pool.size == 0


def test_torch_precision_switch_changes_nothing():
    rng = np.random.default_rng(1)
    queries, candidates = (rng.standard_normal((n, 64), np.float32) for n in (40, 3000))
    relevants = Relevants(np.arange(41), rng.integers(0, 3000, 40))
    starts = np.array([0, 3000])
    expected = rank_relevants(dot_products(queries, candidates), starts, relevants)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        ranks = rank_relevants(dot_products(queries, candidates), starts, relevants)
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(ranks.in_pool, expected.in_pool)


def test_scores_beyond_float32_are_refused():
    large = np.full((2, 2), 1e20, dtype=np.float32)
    relevants = Relevants(np.array([0, 1, 2]), np.array([0, 1]))
    with pytest.raises(ValueError, match="beyond float32; normalise"):
        rank_relevants(dot_products(large, large), np.array([0, 2]), relevants)
