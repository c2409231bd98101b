"""Which index is chosen, and its sizes."""

from __future__ import annotations

import pytest

from hybrid_fast.retrieval.stores.faiss.kinds import (
    IndexOptions,
    choose_kind,
    code_bytes,
    num_lists,
    plan_index,
)

GIB = 2**30


@pytest.mark.parametrize(
    ("rows", "dimension", "memory", "kind"),
    [
        (0, 384, GIB, "flat"),
        (10**6, 384, 16 * GIB, "flat"),
        (10**6, 384, 2 * GIB, "hnsw"),  # vectors take 1.4 GiB of the 2
        (10**6, 384, GIB, "ivf-pq"),
        (10**6, 1024, 64 * GIB, "hnsw"),
        (10**7, 384, 64 * GIB, "ivf-pq"),
    ],
)
def test_the_choice_by_size_and_memory(rows, dimension, memory, kind):
    assert choose_kind(rows, dimension, memory) == kind


@pytest.mark.parametrize(
    ("rows", "lists"), [(1, 1), (39, 1), (400, 10), (10**5, 1024), (10**6, 4096), (10**8, 16384)]
)
def test_lists_follow_the_root_of_rows_and_can_be_fitted(rows, lists):
    assert num_lists(rows) == lists


@pytest.mark.parametrize(("dimension", "size"), [(384, 96), (768, 192), (8, 2), (30, 6), (13, 1)])
def test_codes_divide_the_dimension(dimension, size):
    assert code_bytes(dimension) == size


def test_the_sample_is_bounded():
    plan = plan_index(IndexOptions("ivf-pq"), 10**9, 384)
    assert plan.factory == "IVF16384,PQ96np"
    assert plan.sample == 2**20
    assert plan_index(IndexOptions("ivf-pq"), 5000, 384).sample == 5000
    assert plan_index(IndexOptions("auto"), 5000, 384).factory == ""
    assert plan_index(IndexOptions("HNSW16", refine=3), 5000, 384).refine == 3


@pytest.mark.parametrize(
    ("factory", "refine"),
    [("IVF8,Flat", 1), ("HNSW16", 1), ("IVF8,PQ4,RFlat", 8), ("PCA4,Flat", 8), ("IVF8,PQ4", 8)],
)
def test_more_candidates_where_those_of_the_index_are_not_the_best(factory, refine):
    assert plan_index(IndexOptions(factory), 5000, 8).refine == refine
