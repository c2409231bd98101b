"""Rows and ids in messages of a bounded size."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid_fast.retrieval.stores.milvus import batches as milvus_batches
from hybrid_fast.retrieval.stores.milvus.batches import id_parts, message_ranges, text_sizes


@pytest.mark.parametrize(
    ("sizes", "ranges"),
    [
        ([], []),
        ([4], [(0, 1)]),
        ([11], [(0, 1)]),  # more than a message, and cannot be divided
        ([4, 6, 1], [(0, 2), (2, 3)]),
        ([11, 1, 9, 1], [(0, 1), (1, 3), (3, 4)]),
    ],
)
def test_ranges_are_as_long_as_a_message_allows(monkeypatch, sizes, ranges):
    monkeypatch.setattr(milvus_batches, "MESSAGE_BYTES", 10)
    assert list(message_ranges(np.array(sizes, np.int64))) == ranges


def test_sizes_are_those_of_utf8():
    assert text_sizes(["a", "é"], ["de", "th"], [None, "日本"]).tolist() == [3, 10]
    assert text_sizes([], [], []).tolist() == []


def test_ids_once_and_in_order(monkeypatch):
    monkeypatch.setattr(milvus_batches, "IDS_AT_A_TIME", 2)
    assert list(id_parts(["b", "a", "b", "c"])) == [["b", "a"], ["c"]]
    assert list(id_parts([])) == []
