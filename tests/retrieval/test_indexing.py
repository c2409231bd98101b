"""A store made of an encoded corpus: what is in it, and what becomes of one that cannot be made."""

from __future__ import annotations

import numpy as np
import pytest
from encoded_folders import write_corpus
from memory_store import MemoryStore
from store_cases import draw_queries

from hybrid_fast import index_corpus
from hybrid_fast.retrieval.encoded_corpus import EncodedCorpus
from hybrid_fast.retrieval.stores import open_store


def truth_of(folder, *more) -> MemoryStore:
    """What a store of some corpora must find, one added after another."""
    truth = MemoryStore(EncodedCorpus(folder).info)
    for each in (folder, *more):
        for rows in EncodedCorpus(each):
            truth.add(rows)
    return truth


def check_same(address, truth, queries=None):
    queries = draw_queries(6) if queries is None else queries
    with open_store(address) as store:
        assert store.count() == truth.count()
        found, asked = store.search(queries, 20), truth.search(queries, 20)
        assert found.ids == asked.ids
        np.testing.assert_allclose(found.scores, asked.scores, rtol=1e-6)
        some = found.ids[0]
        assert store.texts(some) == truth.texts(some)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_store_holds_the_corpus(tmp_path, similarity, dtype):
    folder = write_corpus(tmp_path / "encoded", dtype=dtype, similarity=similarity)
    report = index_corpus(folder, f"faiss:{tmp_path}/store", index="flat")
    assert (report.rows, report.recall, report.queries) == (64, 1, 64)
    assert report.languages == {"de": 22, "en": 21, "th": 21}
    assert report.size == sum(
        path.stat().st_size for path in (tmp_path / "store").glob("build-*/*")
    )
    check_same(report.address, truth_of(folder))
