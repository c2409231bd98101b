"""Exact search of the first hits, a few queries at a time or many, beside FAISS.

The vectors are random; what is found is compared with a full sort first.
"""

from __future__ import annotations

from functools import partial

import faiss
import numpy as np
import pytest
from side_by_side import side_by_side

from hybrid_fast.retrieval.exact_search import search_checked

NUM_CANDIDATES, DIM = 131_072, 384
ROUNDS_S = 5


@pytest.fixture(scope="module")
def candidates():
    vectors = np.random.default_rng(0).standard_normal((NUM_CANDIDATES, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [10, pytest.param(1_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("num_queries", [1, 16, 256, 1_024])
def test_search(benchmark, headline, candidates, num_queries, k):
    queries = candidates[:: NUM_CANDIDATES // num_queries].copy()
    found = search_checked(queries[:3], candidates, k)
    expected = np.argsort(-(queries[:3] @ candidates.T), axis=1, kind="stable")[:, :k]
    assert np.mean(found.rows == expected) > 0.99, "other products may change neighbours' places"
    ways = {
        "ours": partial(search_checked, queries, candidates, k),
        "faiss.knn": partial(faiss.knn, queries, candidates, k, metric=faiss.METRIC_INNER_PRODUCT),
    }
    rates = {
        way: num_queries / seconds
        for way, seconds in side_by_side(benchmark, ways, ROUNDS_S, fewest=2).items()
    }
    case = f"first {k:,} of {NUM_CANDIDATES:,} x {DIM}, {num_queries:,} queries at a time"
    headline("search", case, "queries/s", rates.pop("ours"), rates, {"faiss.knn": 1})
