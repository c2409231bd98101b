"""A store made of an encoded corpus: what is in it, and what becomes of one that cannot be made."""

from __future__ import annotations

import numpy as np
import pytest
from encoded_folders import write_corpus
from memory_store import MemoryStore
from store_cases import draw_queries

from hybrid_fast import index_corpus
from hybrid_fast.retrieval.corpora.encoded import EncodedCorpus
from hybrid_fast.retrieval.stores import open_store
from hybrid_fast.retrieval.stores.recall import RECALL_QUERIES


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


def test_adding_and_replacing(tmp_path):
    folder, more = write_corpus(tmp_path / "a"), write_corpus(tmp_path / "b", (9, 4), first=60)
    address = f"faiss:{tmp_path}/store"
    index_corpus(folder, address)
    with pytest.raises(FileExistsError, match="--add"):
        index_corpus(more, address)
    report = index_corpus(more, address, add=True)
    assert (report.rows, report.recall) == (73, 1)  # doc 60 to doc 63 were there
    check_same(address, truth_of(folder, more))
    assert index_corpus(more, address, replace=True, store_texts=False).rows == 13
    with open_store(address) as store:
        assert store.texts(["doc 60"]) == [None]
    with pytest.raises(ValueError, match="leave out add"):
        index_corpus(more, address, replace=True, add=True)
    with pytest.raises(ValueError, match="index='flat'"):
        index_corpus(more, address, index="flat", add=True)
    with pytest.raises(FileNotFoundError, match="no store"):
        index_corpus(more, f"faiss:{tmp_path}/none", add=True)


def test_another_model_is_refused(tmp_path):
    address = f"faiss:{tmp_path}/store"
    index_corpus(write_corpus(tmp_path / "a"), address)
    with pytest.raises(ValueError, match="another model"):
        index_corpus(write_corpus(tmp_path / "b", similarity="dot"), address, add=True)
    with open_store(address) as store:  # no lock was left
        assert store.delete(["doc 1"]) == 1


@pytest.mark.parametrize("damage", ["missing", "flipped"])
@pytest.mark.parametrize("add", [False, True])
def test_a_damaged_shard_leaves_the_store_as_it_was(tmp_path, damage, add):
    folder, address = write_corpus(tmp_path / "a", first=100), f"faiss:{tmp_path}/store"
    if add:
        index_corpus(write_corpus(tmp_path / "b", (5,)), address)
    shard = folder / "shard-00002.parquet"
    if damage == "missing":
        shard.unlink()
    else:
        data = bytearray(shard.read_bytes())
        data[50] ^= 1
        shard.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-00002\.parquet is (missing|damaged)"):
        index_corpus(folder, address, add=add)
    if add:
        assert open_store(address).count() == 5
    else:
        assert not (tmp_path / "store").exists()


def test_recall_is_measured_against_all_shards(tmp_path):
    sizes = (150, 90, 60)
    folder = write_corpus(tmp_path / "a", sizes)
    truth = truth_of(folder)
    report = index_corpus(folder, f"faiss:{tmp_path}/store", index="PQ1x4fs", refine=0)
    queries = EncodedCorpus(folder).sample(RECALL_QUERIES)
    with open_store(report.address) as store:
        found, true = store.search(queries, 11).ids, truth.search(queries, 11).ids
    shares = [len({*some} & {*all[1:]}) / 10 for some, all in zip(found, true, strict=True)]
    assert report.recall == pytest.approx(np.mean(shares))
    assert 0.05 < report.recall < 0.9
    assert report.index == "PQ1x4fs"


def test_recall_of_queries_that_are_given(tmp_path):
    folder = write_corpus(tmp_path / "a", (150, 90, 60))
    asked, address = draw_queries(41), f"faiss:{tmp_path}/store"
    report = index_corpus(folder, address, index="PQ1x4fs", refine=0, queries=asked)
    found, true = (
        each.search(asked[1::2], 10).ids for each in (open_store(address), truth_of(folder))
    )
    shares = [len({*some} & {*all}) / 10 for some, all in zip(found, true, strict=True)]
    assert report.recall == pytest.approx(np.mean(shares))
    assert 0.05 < report.recall < 0.9
    assert report.queries == 20
    one = index_corpus(folder, address, index="flat", replace=True, queries=asked[:1])
    assert (one.recall, one.queries) == (1, 1)
    assert index_corpus(folder, address, add=True, queries=asked).recall == 1


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ones((3, 5), np.float32), r"queries have shape \(3, 5\)"),
        (np.ones((3, 8)), "queries are float64"),
        (np.empty((0, 8), np.float32), "no queries to tune to"),
    ],
)
def test_queries_that_recall_cannot_be_measured_by(tmp_path, queries, message):
    folder = write_corpus(tmp_path / "a")
    with pytest.raises(ValueError, match=message):
        index_corpus(folder, f"faiss:{tmp_path}/store", queries=queries)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("sizes", [(), (0,), (1,)])
def test_corpora_of_no_or_one_vector(tmp_path, sizes):
    report = index_corpus(write_corpus(tmp_path / "a", sizes), f"faiss:{tmp_path}/store")
    assert (report.rows, report.recall) == (sum(sizes), None)
    assert open_store(report.address).count() == sum(sizes)


def test_texts_that_the_corpus_lacks(tmp_path):
    folder = write_corpus(tmp_path / "a", texts=False)
    with pytest.raises(ValueError, match="has no texts to store"):
        index_corpus(folder, f"faiss:{tmp_path}/store", store_texts=True)
    report = index_corpus(folder, f"faiss:{tmp_path}/store")
    assert open_store(report.address).texts(["doc 1"]) == [None]
