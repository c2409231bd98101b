"""Texts of a task in memory or in a mapped file are the same texts, in the order of languages."""

import tempfile

import numpy as np
import pytest

from hybrid_fast.evaluation.encoding import encode
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask, texts
from hybrid_fast.evaluation.tasks.texts import TextCollection, store


def items(count):
    rng = np.random.default_rng(0)
    langs = rng.choice(["de", "en", "th"], count).tolist()
    return [Query(f"q{n}", lang, f"ข้อความ {n}") for n, lang in enumerate(langs)]


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
    given = sorted(items(count), key=lambda item: item.lang) if is_sorted else items(count)
    languages = ("de", "en", "th", "zz")
    collection = TextCollection(store(iter(given)), languages)
    expected = sorted(given, key=lambda item: item.lang)
    assert len(collection) == count
    assert list(collection) == [item.text for item in expected]
    assert collection.ids == [item.id for item in expected]
    assert [languages[code] for code in collection.language_codes] == [e.lang for e in expected]
    assert collection[-1] == expected[-1].text
    assert collection[3:30] == [item.text for item in expected[3:30]]
    assert collection.arrivals.tolist() == [given.index(item) for item in expected]


@pytest.mark.usefixtures("small_parts")
def test_a_task_passes_through_its_candidates_once():
    """Relevants are found whatever the order in which languages arrive."""
    passed = []

    def candidates():
        for number, query in enumerate(items(40)):
            passed.append(number)
            yield Candidate(f"c{number}", query.lang, query.text, (query.id,))

    task = RetrievalTask("t", items(40), candidates())
    assert passed == list(range(40))
    assert [task.candidates[row] for row in task.relevants.rows] == list(task.queries)


def test_nothing_stored():
    assert store([]).num_rows == 0


def test_repeated_texts_are_encoded_once_longest_first():
    calls = []

    def encoder(chunk):
        calls.append(chunk)
        return np.array([[len(text), hash(text) % 1000] for text in chunk], dtype=np.float32)

    given = ["bb", "a", "cccc", "bb", "\ud800", "a", "dd", "bb"]
    found = encode(encoder, given, None, "texts")
    assert calls == [["cccc", "bb", "dd", "a", "\ud800"]]
    np.testing.assert_array_equal(found, encoder(given))
