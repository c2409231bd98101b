"""A FAISS store: what every store does, and what stays of it in its folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from memory_store import MemoryStore
from store_cases import StoreCases, draw_queries, draw_rows, made_info

from hybrid_fast.retrieval import search
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.stores import create_store, open_store
from hybrid_fast.retrieval.stores.faiss import files as faiss_files
from hybrid_fast.retrieval.stores.faiss import store as faiss_store
from hybrid_fast.retrieval.stores.faiss import vectors as faiss_vectors
from hybrid_fast.retrieval.stores.faiss.rows import KeptRows


@pytest.fixture
def new(tmp_path):
    """Make an empty store of a VectorInfo."""
    stores = []

    def make(info, **options):
        stores.append(create_store(f"faiss:{tmp_path}/store-{len(stores)}", info, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def reopened():
    """Commit and close a store, and open it again."""

    def reopen(store):
        store.commit()
        store.close()
        return open_store(store.address)

    return reopen


@pytest.fixture
def made(tmp_path):
    """Address of a store of 30 rows that was committed and closed."""
    address = f"faiss:{tmp_path}/made"
    with create_store(address, made_info()) as store:
        store.add(draw_rows(30))
    return address


def folder_of(address: str) -> Path:
    return Path(address.removeprefix("faiss:"))


def files_of(address: str) -> list[str]:
    return sorted(path.name for path in folder_of(address).glob("build-*/*"))


class TestFlat(StoreCases):
    pass


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_scores_are_those_of_exact_search_bit_for_bit(new, reopened, dtype, similarity):
    rows, queries = draw_rows(50), draw_queries(30)
    rows = rows._replace(vectors=rows.vectors.astype(dtype).astype(np.float32))
    store = new(made_info(similarity), dtype=dtype)
    store.add(rows)
    normalize = normalize_rows if similarity == "cosine" else np.asarray
    truth = search(normalize(queries), normalize(rows.vectors), 9)
    for each in (store, reopened(store)):
        found = each.search(queries, 9)
        np.testing.assert_array_equal(found.scores, truth.scores)
        assert found.ids == [[rows.ids[row] for row in hits] for hits in truth.rows]


@pytest.mark.parametrize("rows_a_block", [1, 7])
def test_blocks_change_nothing_ties_included(new, monkeypatch, rows_a_block):
    monkeypatch.setattr(faiss_vectors, "BLOCK_BYTES", rows_a_block * 4 * 8)
    store, truth = new(made_info()), MemoryStore(made_info())
    vectors = np.repeat(draw_rows(6).vectors, 4, axis=0)  # each four times, so scores tie
    for each in (store, truth):
        each.add(draw_rows(24)._replace(vectors=vectors))
        each.delete(["doc 5", "doc 6"])
    for languages in (None, ["de"], ["de", "th"]):
        for k in (1, 3, 6, 30):
            found = (each.search(draw_queries(4), k, languages) for each in (store, truth))
            assert len({json.dumps(hits.ids) for hits in found}) == 1


def test_vectors_beyond_float16_are_refused(new):
    store = new(made_info(), dtype="float16")
    store.add(draw_rows(3))
    with pytest.raises(ValueError, match="float16"):
        store.add(draw_rows(3, 5)._replace(vectors=np.full((3, 8), 1e6, np.float32)))
    assert store.count() == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"index": "flatt"}, r"did you mean 'flat'\? .* dimensions: could not parse"),
        ({"index": "IVF4,PQ5"}, "8 dimensions"),
        ({"index": "IDMap,Flat"}, "IDMap"),
        ({"target_recall": 0}, "target_recall"),
        ({"refine": -1}, "refine"),
        ({"nprob": 3}, "no option 'nprob'"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        create_store(f"faiss:{tmp_path}/store", made_info(), **options)
    assert not any(tmp_path.iterdir())


def test_a_store_that_was_not_committed_is_nowhere(tmp_path):
    store = create_store(f"faiss:{tmp_path}/deep/store", made_info())
    store.add(draw_rows(3))
    store.close()
    assert not any(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="no store"):
        open_store(store.address)


def test_a_killed_writer_leaves_the_last_commit(tmp_path, made):
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from store_cases import *
from hybrid_fast.retrieval.stores import create_store, open_store
new = create_store("faiss:{tmp_path}/new", made_info())
new.add(draw_rows(9))
old = open_store({made!r})
old.delete(["doc 0"])
old.add(draw_rows(9, 100))
other = create_store({made!r}.replace("made", "other"), made_info())
other.add(draw_rows(2)); other.commit(); other.add(draw_rows(7, 50))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-P", "-c", code]).returncode == -9
    with open_store(made) as store:
        assert (store.count(), store.texts(["doc 0"])) == (30, ["text of doc 0"])
        store.add(draw_rows(4, 200, seed=7))  # cuts off what the dead one left
        assert store.search(draw_rows(4, 200, seed=7).vectors, 1).ids[3] == ["doc 203"]
    assert open_store(made).count() == 34
    assert open_store(f"faiss:{tmp_path}/other").count() == 2
    with pytest.raises(ValueError, match="never finished"):
        open_store(f"faiss:{tmp_path}/new")
    with create_store(f"faiss:{tmp_path}/new", made_info()) as store:
        store.add(draw_rows(5))
    assert len(list((tmp_path / "new").glob("build-*"))) == 1
    assert open_store(f"faiss:{tmp_path}/new").count() == 5


def test_a_full_disk_leaves_what_was_there(made, monkeypatch):
    store = open_store(made)
    store.add(draw_rows(2, 40))
    write, calls = os.pwrite, []

    def full(*given):
        calls.append(given)
        if len(calls) == 3:  # after the vectors and languages
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*given)

    monkeypatch.setattr(faiss_files.os, "pwrite", full)
    with pytest.raises(OSError, match="disk is full"):
        store.add(draw_rows(5, 50))
    monkeypatch.undo()
    assert store.count() == 32
    last = draw_rows(3, 60, seed=7)
    store.add(last)
    store.commit()
    store.close()
    assert open_store(made).search(last.vectors, 1).ids == [["doc 60"], ["doc 61"], ["doc 62"]]


def test_one_writer_and_any_number_of_readers(made):
    reader, first, second = (open_store(made) for _ in range(3))
    first.add(draw_rows(5, 100))
    with pytest.raises(FileExistsError, match="in use by process"):
        second.delete(["doc 1"])
    with pytest.raises(FileExistsError, match="in use by process"):
        create_store(made, made_info(), replace=True)
    first.commit()
    first.close()
    assert reader.count() == 30  # as it was opened
    assert second.delete(["doc 1", "doc 103"]) == 2  # begins at what the first left
    second.commit()
    second.close()
    assert open_store(made).count() == 33


def test_a_writer_of_another_model_than_was_opened(made):
    store = open_store(made)
    with create_store(made, made_info("dot"), replace=True) as other:
        other.add(draw_rows(4))
    with pytest.raises(ValueError, match=r"was replaced since it was opened.*open it again"):
        store.add(draw_rows(2, 50))
    assert open_store(made).delete(["doc 1"]) == 1  # no lock was left


@pytest.mark.parametrize("gone", ["rows", "index"])
def test_a_store_that_is_replaced_while_it_is_opened(tmp_path, monkeypatch, gone):
    address = f"faiss:{tmp_path}/store"
    made = []

    def make(first):
        with create_store(address, made_info(), index="sq8", replace=bool(first)) as store:
            store.add(draw_rows(30, first))

    class Slow(KeptRows):
        def __init__(self, folder, commit, writable):
            monkeypatch.setattr(faiss_store, "KeptRows", KeptRows)
            if gone == "index":
                super().__init__(folder, commit, writable)
            made.append(make(100))
            if gone == "rows":
                super().__init__(folder, commit, writable)

    make(0)
    monkeypatch.setattr(faiss_store, "KeptRows", Slow)
    with open_store(address) as store:
        assert made
        assert store.texts(["doc 0", "doc 100"]) == [None, "text of doc 100"]


def test_a_store_is_replaced_at_the_first_commit(made):
    with pytest.raises(FileExistsError, match="--replace"):
        create_store(made, made_info())
    reader = open_store(made)
    store = create_store(made, made_info("dot"), replace=True)
    store.add(draw_rows(4))
    assert open_store(made).count() == 30
    store.commit()
    store.close()
    assert reader.search(draw_queries(1), 30).ids  # what is removed stays mapped
    assert open_store(made).count() == 4
    assert open_store(made).info.similarity == "dot"
    assert len(list(folder_of(made).glob("build-*"))) == 1
    create_store(made, made_info(), replace=True).close()
    assert open_store(made).count() == 4


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "build-release").mkdir()
    with pytest.raises(FileExistsError, match="build-release"):
        create_store(f"faiss:{tmp_path}", made_info())
    (tmp_path / "build-release").rmdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"notes\.txt"):
        create_store(f"faiss:{tmp_path}", made_info())
    with pytest.raises(NotADirectoryError, match="is a file"):
        create_store(f"faiss:{tmp_path}/notes.txt", made_info())
    with pytest.raises(ValueError, match="is no store"):
        open_store(f"faiss:{tmp_path}")


@pytest.mark.parametrize("what", ["vectors.bin", "languages.bin", "rows.arrow", "ids-1", "alive-1"])
@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_damaged_files(made, what, damage):
    (path,) = folder_of(made).glob(f"build-*/{what}*")
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(ValueError, match=f"damaged.*{what}|{what}.*damaged"):
        open_store(made)


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"version": 99}'])
def test_a_damaged_store_file(made, content):
    (folder_of(made) / "store.json").write_text(content)
    with pytest.raises(ValueError, match=r"store\.json.*--replace"):
        open_store(made)
    with create_store(made, made_info(), replace=True) as store:
        store.add(draw_rows(2))
    assert open_store(made).count() == 2


def test_deleted_rows_go_when_they_are_many(made):
    store = open_store(made)
    truth = MemoryStore(made_info())
    truth.add(draw_rows(30))
    gone = [f"doc {number}" for number in range(0, 30, 2)]
    for each in (store, truth):
        assert each.delete(gone) == 15
    before = store.size()
    store.commit()
    assert store.size() < before
    store.close()
    store = open_store(made)
    found, asked = (each.search(draw_queries(3), 20) for each in (store, truth))
    assert found.ids == asked.ids
    assert store.texts(["doc 1", "doc 2"]) == ["text of doc 1", None]
    assert files_of(made) == [
        "alive-1.bin",
        "ids-1.bin",
        "languages.bin",
        "rows.arrow",
        "vectors.bin",
    ]
    assert store.delete(["doc 1"]) == 1


def test_ids_and_texts_in_any_script(new, reopened):
    store = new(made_info())
    rows = draw_rows(3)._replace(ids=["ป 1", "渡轮", "a\nb"], texts=["", "ü", "x" * 5000])
    store.add(rows)
    store = reopened(store)
    asked = ["渡轮", "a\nb", "ป 1", "渡", "\ud800"]
    assert store.texts(asked) == ["ü", "x" * 5000, "", None, None]
    assert store.delete(["\ud800"]) == 0
