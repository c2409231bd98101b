"""Search by BM25 finds what the scores of all candidates order, also after texts came and went."""

import numpy as np
import pytest

from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.retrieval import BM25, BM25Index, bm25_index

WORDS = "cat dog sea ship moon sun tree bird rain wind stone fire".split()


def draw(num, seed, languages=("de", "en", "th")):
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 7))) for _ in range(num)]
    return [
        CorpusText(f"{seed}-{number}", languages[number % len(languages)], text)
        for number, text in enumerate(texts)
    ]


def slow_search(passages, queries, k, languages=None):
    """Order the scores of all candidates; those above 0 are found, equal ones as they came."""
    candidates = [Candidate(each.id, each.language, f"{each.text} .") for each in passages]
    task = RetrievalTask(
        "made",
        [Query(f"q{n}", "en", q) for n, q in enumerate(queries)],
        [*candidates, Candidate("judged", "sw", "x", tuple(f"q{n}" for n in range(len(queries))))],
    )
    scores = np.empty((len(queries), len(task.candidates)), np.float32)
    BM25(task.queries, task.candidates, 1.2, 0.75)(np.arange(len(queries)), scores)
    places = {each: place for place, each in enumerate(task.candidates.ids)}
    columns = [places[each.id] for each in passages]
    found = []
    for row in scores[:, columns]:
        kept = [n for n, each in enumerate(passages) if not languages or each.language in languages]
        order = sorted((n for n in kept if row[n] > 0), key=lambda n: -row[n])[:k]
        found.append([(passages[n].id, passages[n].language, row[n]) for n in order])
    return found


def check(index, passages, queries, k, languages=None):
    hits = index.search(queries, k, languages)
    assert hits.scores.shape == (len(queries), k)
    assert hits.scores.dtype == np.float32
    expected = slow_search(passages, queries, k, languages)
    for ids, codes, scores, rows in zip(
        hits.ids, hits.languages, hits.scores, expected, strict=True
    ):
        assert list(zip(ids, codes, strict=True)) == [row[:2] for row in rows]
        np.testing.assert_allclose(scores[: len(rows)], [row[2] for row in rows], rtol=1e-5)
        assert np.isneginf(scores[len(rows) :]).all()


QUERIES = ["cat cat dog", "unheard", "?!", "sun MOON sea stone", "fire"]


@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.parametrize("languages", [None, ["th"], {"de", "en"}])
def test_finds_what_all_scores_order(monkeypatch, k, languages):
    passages = draw(50, 0)
    index = BM25Index(iter(passages), 1.2, 0.75)
    assert len(index) == 50
    assert index.languages() == {"de": 17, "en": 17, "th": 16}
    check(index, passages, QUERIES, k, languages)
    monkeypatch.setattr(bm25_index, "TILE_BYTES", 1)  # one query at a time
    check(index, passages, QUERIES, k, languages)
    assert index.search([], k).ids == []


def test_texts_come_and_go(monkeypatch):
    passages = draw(30, 0)
    index = BM25Index(passages, 1.2, 0.75)
    check(index, passages, QUERIES, 9)
    changed = [passages[4]._replace(text="dog dog", language="fi"), *draw(5, 1)]
    index.add(changed)
    assert index.delete(["0-0", "0-9", "0-0", "nothing"]) == 2
    left = [each for n, each in enumerate(passages) if n not in (0, 4, 9)] + changed
    check(index, left, QUERIES, 9)
    check(index, left, QUERIES, 9, ["fi"])
    index.delete([passages[4].id])
    with pytest.raises(ValueError, match="BM25 has no text in 'fi'; it has de, en, th"):
        index.search(QUERIES, 9, ["fi"])


def test_words_of_a_query_are_found_as_those_of_each_language():
    index = BM25Index([("a", "tr", "IĞDIR"), ("b", "en", "IĞDIR"), ("c", "de", "...")])
    assert [set(ids) for ids in index.search(["IĞDIR", "ığdır", "iğdir", "..."], 3).ids] == [
        {"a", "b"},
        {"a"},
        {"b"},
        set(),
    ]


def test_what_cannot_be_indexed_or_searched():
    with pytest.raises(ValueError, match="there are no texts to index"):
        BM25Index([])
    with pytest.raises(ValueError, match="the text 'cat' has an empty id"):
        BM25Index([("", "en", "cat")])
    index = BM25Index([("a", "en", "cat")])
    with pytest.raises(ValueError, match="k is 0"):
        index.search(["cat"], 0)
    assert index.delete(["a"]) == 1
    assert index.search(["cat"], 3).ids == [[]]
