"""Texts in memory or in a mapped file are the same texts, in the order of languages."""

import tempfile
from operator import itemgetter

import numpy as np
import pytest

from hybrid_fast.retrieval import texts
from hybrid_fast.retrieval.texts import TextCollection, store_texts


def items(count):
    rng = np.random.default_rng(0)
    langs = rng.choice(["de", "en", "th"], count).tolist()
    return [(f"q{n}", lang, f"ข้อความ {n}") for n, lang in enumerate(langs)]


@pytest.fixture(params=["memory", "file"])
def small_parts(request, monkeypatch, tmp_path):
    """A few rows a batch, and no memory for them if they are to go to a file."""
    monkeypatch.setattr(texts, "ROWS_PER_BATCH", 7)
    monkeypatch.setattr(texts, "IN_MEMORY_BYTES", 0 if request.param == "file" else 2**20)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("count", [1, 7, 50])
def test_stored_texts(count, is_sorted):
    given = sorted(items(count), key=itemgetter(1)) if is_sorted else items(count)
    languages = ("de", "en", "th", "zz")
    collection = TextCollection(store_texts(iter(given)), languages)
    expected = sorted(given, key=itemgetter(1))
    assert len(collection) == count
    assert list(collection) == [text for _, _, text in expected]
    assert collection.ids == [text_id for text_id, _, _ in expected]
    assert [languages[code] for code in collection.language_codes] == [
        lang for _, lang, _ in expected
    ]
    assert collection[-1] == expected[-1][2]
    assert collection[3:30] == [text for _, _, text in expected[3:30]]
    assert collection.original_rows.tolist() == [given.index(item) for item in expected]


def test_nothing_stored():
    assert store_texts([]).num_rows == 0
