"""Texts of a corpus by id: as a dict gives them, from memory and from a mapped file."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_fast.retrieval import texts as texts_module
from hybrid_fast.retrieval import texts_by_id
from hybrid_fast.retrieval.texts_by_id import TextsById


def rows(count):
    return [(f"id {n}", "en", f"text {n}\n\u4e00") for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 4097, 10_001])
@pytest.mark.parametrize("is_mapped", [False, True])
def test_texts_of_ids_in_any_order(monkeypatch, tmp_path, count, is_mapped):
    monkeypatch.setattr(texts_module, "IN_MEMORY_BYTES", 0 if is_mapped else 2**28)
    store = TextsById(iter(rows(count)), tmp_path)
    known = {each: text for each, _, text in rows(count)}
    asked = ["id 0", f"id {count - 1}", "none", "", *np.random.default_rng(0).permutation([*known])]
    assert store.texts(asked) == [known.get(each) for each in asked]
    assert store.texts(["id 0"] * 3) == [known.get("id 0")] * 3
    assert store.texts([]) == []
    assert len(store) == count
    assert not list(tmp_path.iterdir())  # the file has no name


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=30), st.data())
def test_equal_digests_are_told_apart_by_the_ids(known, data):
    """Digests of three values, so that most ids share theirs with others."""
    asked = [*data.draw(st.lists(st.text(max_size=3), max_size=30)), *known]

    def few_digests(ids):
        return np.array([len(each.as_py()) % 3 for each in ids], np.int64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts_by_id, "text_ids", few_digests)
        store = TextsById((each, "en", text) for each, text in known.items())
        assert store.texts(asked) == [known.get(each) for each in asked]


def test_memory_is_twelve_bytes_a_text_whatever_its_length(monkeypatch, tmp_path):
    monkeypatch.setattr(texts_module, "IN_MEMORY_BYTES", 0)
    count = 70_000
    store = TextsById(((str(n), "en", "x" * 1000) for n in range(count)), tmp_path)
    assert store._digests.nbytes + store._rows.nbytes == 12 * count
    assert store.texts(["69999"]) == ["x" * 1000]


def test_a_corpus_that_is_bad_and_a_folder_that_is_not_there(monkeypatch, tmp_path):
    def bad():
        yield from rows(5000)
        raise ValueError("a.jsonl:7: malformed")

    monkeypatch.setattr(texts_module, "IN_MEMORY_BYTES", 0)
    with pytest.raises(ValueError, match=r"a\.jsonl:7: malformed"):
        TextsById(bad(), tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        TextsById(rows(1), tmp_path / "none")


def test_a_full_disk_is_named(monkeypatch, tmp_path):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def write_batch(self, batch):
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(texts_module, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(texts_module.pa.ipc, "new_file", lambda path, schema: Full())
    with pytest.raises(OSError, match=r"texts\.arrow could not be written: the disk is full"):
        TextsById(rows(5), tmp_path)
    assert not list(tmp_path.iterdir())
