"""Stores in Milvus, in a file and on a server: they do what every store must do."""

from __future__ import annotations

import itertools

import numpy as np
import pymilvus
import pytest
from encoded_folders import write_corpus
from memory_store import MemoryStore
from milvus_servers import lite_server
from store_cases import StoreCases, draw_queries, draw_rows, made_info

from hybrid_fast.retrieval.corpora.encoded import EncodedCorpus
from hybrid_fast.retrieval.indexing import index_corpus
from hybrid_fast.retrieval.stores import create_store, open_store
from hybrid_fast.retrieval.stores.milvus import batches as milvus_batches
from hybrid_fast.retrieval.stores.milvus import store as milvus_store

names = (f"case_{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("milvus") / "store.db"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with lite_server(tmp_path_factory.mktemp("served")) as address:
        yield f"http://{address}"


class MilvusCases(StoreCases):
    @pytest.fixture
    def new(self, place):
        made = []

        def make(info):
            made.append(create_store(f"milvus:{place}/{next(names)}", info))
            return made[-1]

        yield make
        for store in made:
            store.close()

    @pytest.fixture
    def reopened(self):
        opened = []

        def reopen(store):
            with store:
                pass
            opened.append(open_store(store.address))
            return opened[-1]

        yield reopen
        for store in opened:
            store.close()


class TestFile(MilvusCases):
    @pytest.fixture
    def place(self, file):
        return file


class TestServer(MilvusCases):
    @pytest.fixture
    def place(self, server):
        return server


@pytest.fixture
def fresh(file):
    """The address of no store yet, in a file."""
    return f"milvus:{file}/{next(names)}"


ODD_IDS = [
    "it's",
    'say "no"',
    "back\\slash",
    "a\nb\tc\r",
    "\x01",
    "日本語 😀",
    "x" * 65_535,
    "{a}",
    "%",
]


def test_ids_of_all_kinds(fresh):
    rows = draw_rows(len(ODD_IDS))._replace(ids=ODD_IDS, texts=[each[:9] for each in ODD_IDS])
    with create_store(fresh, made_info()) as store:
        store.add(rows)
        assert store.texts(ODD_IDS[::-1]) == [each[:9] for each in ODD_IDS[::-1]]
        found = store.search(rows.vectors, 1)
        assert [each for (each,) in found.ids] == ODD_IDS
        for each in ODD_IDS:
            assert store.delete([each, each]) == 1
        assert store.count() == 0
        assert store.languages() == {}


def test_languages_of_all_kinds(fresh):
    odd = ['"', "\\", "zh-Hant", "日本"]
    with create_store(fresh, made_info()) as store:
        store.add(draw_rows(4)._replace(languages=odd))
        assert store.languages() == dict.fromkeys(odd, 1)
        assert set(store.language_codes()) == set(odd)
        store._calls.lite = False  # as a server that counts them itself
        assert store.languages() == dict.fromkeys(odd, 1)
        assert store.search(draw_queries(1), 4, odd[:2]).languages[0] in (odd[:2], odd[1::-1])
        store.delete(["doc 0"])
        with pytest.raises(ValueError, match="no vectors in '\"'"):
            store.search(draw_queries(1), 4, ['"'])
        assert set(store.language_codes()) == set(odd[1:])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ids": ["a", "é" * 32_768]}, "the id of 'ééé.*65536 bytes"),
        ({"texts": ["a", "ж" * 32_768]}, "the text of 'doc 1' has 65536 bytes.*--texts FILE"),
        ({"languages": ["x" * 70_000, "b"]}, "the language of 'doc 0' has 70000 bytes"),
    ],
)
def test_what_is_too_long_for_milvus(fresh, changed, message):
    with create_store(fresh, made_info()) as store:
        with pytest.raises(ValueError, match=message):
            store.add(draw_rows(2)._replace(**changed))
        assert store.count() == 0


def test_texts_are_kept_replaced_and_forgotten(fresh):
    with create_store(fresh, made_info()) as store:
        store.add(draw_rows(2)._replace(texts=["ж" * 32_767, ""]))
        assert store.texts(["doc 0", "doc 1"]) == ["ж" * 32_767, ""]
        store.add(draw_rows(1, texts=False))
        assert store.texts(["doc 0", "doc 1"]) == [None, ""]


def test_messages_and_answers_in_parts(fresh, monkeypatch):
    """A few rows, ids or queries at a time give what all give at once."""
    monkeypatch.setattr(milvus_batches, "MESSAGE_BYTES", 150)
    monkeypatch.setattr(milvus_batches, "IDS_AT_A_TIME", 3)
    monkeypatch.setattr(milvus_store, "_QUERIES_AT_A_TIME", 2)
    truth, rows = MemoryStore(made_info("dot")), draw_rows(11)
    truth.add(rows)
    with create_store(fresh, made_info("dot")) as store:
        for _ in range(2):  # again changes nothing
            store.add(rows)
            assert store.count() == 11
        StoreCases().check_same(store, truth, draw_queries(5), 4)
        assert store.texts(rows.ids) == rows.texts
        assert store.delete([*rows.ids[:7], "none"]) == 7


def test_k_above_what_milvus_gives(fresh):
    with create_store(fresh, made_info()) as store, pytest.raises(ValueError, match="16384 hits"):
        store.search(draw_queries(1), 16_385)


def test_equal_scores_by_id_and_vectors_of_zeros(fresh):
    rows = draw_rows(4)._replace(ids=["d", "b", "a", "c"])
    rows.vectors[:3] = rows.vectors[0]
    rows.vectors[3] = 0
    with create_store(fresh, made_info()) as store:
        store.add(rows)
        found = store.search(np.stack([rows.vectors[0], rows.vectors[3]]), 4)
    assert found.ids == [["a", "b", "d", "c"], ["a", "b", "c", "d"]]
    np.testing.assert_allclose(found.scores, [[1, 1, 1, 0], [0, 0, 0, 0]], atol=1e-6)


def test_a_store_is_there_or_is_not(fresh):
    with pytest.raises(FileNotFoundError, match="there is no collection"):
        open_store(fresh)
    with pytest.raises(FileNotFoundError, match=r"there is no .*none\.db; hybrid-fast index"):
        open_store("milvus:none.db")
    store = create_store(fresh, made_info())
    store.add(draw_rows(3))
    with pytest.raises(ValueError, match="never finished: process"):
        open_store(fresh)
    with pytest.raises(FileExistsError, match="not finished"):
        create_store(fresh, made_info())
    store.close()
    store.close()
    with pytest.raises(ValueError, match="never finished"):
        open_store(fresh)
    with create_store(fresh, made_info(), replace=True) as store:
        assert store.count() == 0
    with pytest.raises(FileExistsError, match="holds a store; add to it"):
        create_store(fresh, made_info())


def test_a_store_stays_until_the_one_that_replaces_it_is_whole(fresh):
    with create_store(fresh, made_info()) as old:
        old.add(draw_rows(9))
    for _ in range(2):  # the second finds what the first left behind
        unfinished = create_store(fresh, made_info("dot"), replace=True)
        unfinished.add(draw_rows(2))
        unfinished.close()
    with open_store(fresh) as old:
        assert (old.count(), old.info) == (9, made_info())
    with create_store(fresh, made_info("dot"), replace=True) as new:
        new.add(draw_rows(4))
        new.commit()
        new.add(draw_rows(2, first=4))
    with open_store(fresh) as new:
        assert (new.count(), new.info) == (6, made_info("dot"))


def test_a_replacement_that_died_when_it_was_whole(fresh, monkeypatch):
    with create_store(fresh, made_info()) as old:
        old.add(draw_rows(9))
    new = create_store(fresh, made_info(), replace=True)
    new.add(draw_rows(4))
    monkeypatch.setattr(milvus_store, "take_place", die_before_renaming)
    with pytest.raises(KeyboardInterrupt):
        new.commit()
    new.close()
    with pytest.raises(FileExistsError, match="holds a store"):
        create_store(fresh, made_info())
    with open_store(fresh) as new:
        assert new.count() == 4


def die_before_renaming(calls, name):
    calls("drop_collection", calls.place.collection)
    raise KeyboardInterrupt


def test_a_collection_of_somebody_else(fresh, file):
    client = pymilvus.MilvusClient(str(file), dedicated=True)
    client.create_collection(fresh.rpartition("/")[2], dimension=4)
    client.close()
    with pytest.raises(ValueError, match="not made by hybrid-fast"):
        open_store(fresh)
    for replace in (False, True):
        with pytest.raises(FileExistsError, match="not made by hybrid-fast"):
            create_store(fresh, made_info(), replace=replace)


@pytest.mark.parametrize("index", ["hnsw,M=8,efConstruction=40", "ivf-flat,nlist=4", "autoindex"])
def test_other_indexes(fresh, index):
    rows = draw_rows(60)
    with create_store(fresh, made_info(), index=index, search="ef=64,nprobe=4") as store:
        store.add(rows)
    with open_store(fresh, search={"ef": 64, "nprobe": 4}) as store:
        assert (store.index, store.exact) == (
            index.partition(",")[0].upper().replace("-", "_"),
            False,
        )
        assert store.search_exactly(draw_queries(1), 3) is None
        assert [each for (each,) in store.search(rows.vectors, 1).ids] == rows.ids


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": "hnws"}, "did you mean 'HNSW'"),
        ({"index": "DISKANN"}, "index is 'DISKANN'"),
        ({"index": "HNSW,M"}, "'M' is no parameter"),
        ({"search": "ef"}, "'ef' is no parameter"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": "long"}, "timeout is 'long'"),
        ({"retries": -1}, "retries is -1"),
        ({"retries": 1.5}, "retries is 1.5"),
        ({"partitions": 0}, "partitions is 0; 1 to 1024"),
    ],
)
def test_options_that_cannot_be(fresh, options, message):
    with pytest.raises(ValueError, match=message):
        create_store(fresh, made_info(), **options)


def test_two_stores_of_one_process_share_a_file(fresh):
    with create_store(fresh, made_info()) as store:
        store.add(draw_rows(5))
        store.commit()
        with open_store(fresh) as other:
            other.add(draw_rows(1, first=5)._replace(languages=["fi"]))
        assert store.search(draw_queries(1), 9, ["fi"]).ids == [["doc 5"]]
        assert store.count() == 6


@pytest.mark.parametrize("form", ["file", "server"])
def test_an_encoded_corpus_is_indexed_and_searched(form, request, tmp_path):
    address = f"milvus:{request.getfixturevalue(form)}/{next(names)}"
    corpus = EncodedCorpus(write_corpus(tmp_path / "a", dtype="float16"))
    report = index_corpus(corpus, address)
    assert (report.address, report.index, report.rows, report.recall) == (address, "FLAT", 64, 1.0)
    assert report.languages == corpus.manifest.languages
    more = write_corpus(tmp_path / "b", sizes=(20,), first=60, dtype="float16")
    assert index_corpus(more, address, add=True).rows == 80
    with pytest.raises(FileExistsError, match="--replace"):
        index_corpus(corpus, address)
    index_corpus(corpus, address, replace=True, store_texts=False)
    truth = MemoryStore(corpus.info)
    for rows in corpus:
        truth.add(rows)
    with open_store(address) as store:
        StoreCases().check_same(store, truth, draw_queries(6), 64)
        assert store.texts(["doc 3"]) == [None]
