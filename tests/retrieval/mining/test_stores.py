"""Mining from a store: what answers an item is known by text or id, and scores are the store's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from memory_store import MemoryStore
from mining_by_hand import HashModel, draw_table, same_text
from test_rules import Dictionary, make_table

from hybrid_fast import mine_hard_negatives
from hybrid_fast.retrieval.mining import MiningOptions, candidates, mine
from hybrid_fast.retrieval.mining.answers import Answers, KnownPassages, hash_texts
from hybrid_fast.retrieval.stores import Rows
from hybrid_fast.retrieval.vector_info import VectorInfo

LOOSE = {"relative_margin": None}


def make_store(model, rows, with_texts=True) -> MemoryStore:
    """Make a store of (id, language, text)."""
    store = MemoryStore(VectorInfo.of(model), "memory:corpus")
    ids, languages, texts = zip(*rows, strict=True)
    vectors = model.encode_passages(list(texts))
    store.add(Rows(ids, languages, vectors, list(texts) if with_texts else None))
    return store


CORPUS = [
    ("d1", "en", "own  5"),
    ("d2", "en", "of its id 9"),
    ("d3", "en", "found 8"),
    ("d4", "de", "gefunden 7"),
    ("d5", "en", "found 8 "),
    ("d6", "en", "found 3"),
]
TABLE = make_table(
    ("a", "en", "q", "own 5"), ("a", "de", "f", "sein 4"), passage_id=[None, "d2"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (LOOSE, ["found 8", "found 3"]),
        ({**LOOSE, "languages": "pool"}, ["found 8", "gefunden 7", "found 3"]),
        ({**LOOSE, "languages": "other"}, ["gefunden 7"]),
        ({}, ["found 3"]),
    ],
    ids=str,
)
def test_negatives_come_from_the_store(options, expected):
    store = make_store(Dictionary(), CORPUS)
    mined = mine_hard_negatives(Dictionary(), TABLE, store=store, **options)
    assert mined.dataset[0]["negatives"] == expected
    assert mined.dataset[0]["positive_score"] == 5.0


def test_texts_may_be_elsewhere():
    store = make_store(Dictionary(), CORPUS, with_texts=False)
    with pytest.raises(ValueError, match="mining needs the texts of hits, and there is none of"):
        mine_hard_negatives(Dictionary(), TABLE, store=store)
    texts = {each: text.upper() for each, _, text in CORPUS}
    mined = mine_hard_negatives(Dictionary(), TABLE, store=store, texts=texts)
    assert mined.dataset[0]["negatives"] == ["FOUND 3"]


def test_a_store_of_the_same_passages_gives_the_same_negatives(memory_stores):
    table, model = draw_table(4, with_ids=False), HashModel()
    first = {}
    for row in table.dataset:
        if row["passage"]:
            first.setdefault((row["lang"], same_text(row["passage"])), row["passage"])
    rows = [(f"doc {n}", lang, text) for n, ((lang, _), text) in enumerate(first.items())]
    options = {"languages": "pool", "relative_margin": 0.9, "seed": 2, "sampling": "random"}
    of_store = mine_hard_negatives(model, table, store=make_store(model, rows), **options)
    assert of_store.fingerprint == mine_hard_negatives(model, table, **options).fingerprint


def test_languages_that_a_store_lacks_give_no_negatives(caplog):
    store = make_store(Dictionary(), [("d", "th", "found 1")])
    mined = mine(Dictionary(), TABLE, MiningOptions(), store=store)
    assert mined.table.dataset["negatives"][:] == [[], []]
    assert mined.report.total.without == 2
    assert "no passages to become negatives of items in de, en; there are some in th" in caplog.text


def test_queries_alone_are_mined_without_margins():
    store = make_store(Dictionary(), CORPUS)
    table = make_table(("a", "en", "q", None))
    mined = mine_hard_negatives(Dictionary(), table, store=store, **LOOSE)
    assert mined.dataset[0]["negatives"] == ["of its id 9", "found 8", "own  5", "found 3"]
    assert mine_hard_negatives(Dictionary(), table, store=store).dataset[0]["negatives"] == []


def test_stores_that_cannot_be_mined():
    with pytest.raises(ValueError, match="holds vectors of 'HashModel', and 'HashModel' is anoth"):
        mine_hard_negatives(HashModel(seed=1), TABLE, store=make_store(HashModel(), CORPUS))
    with pytest.raises(ValueError, match="index='flat' is for the table's passages"):
        mine_hard_negatives(
            Dictionary(), TABLE, store=make_store(Dictionary(), CORPUS), index="flat"
        )
    with pytest.raises(ValueError, match="there are no passages in any language"):
        mine_hard_negatives(
            Dictionary(), TABLE, store=MemoryStore(VectorInfo.of(Dictionary()), "memory:")
        )
    with pytest.raises(ValueError, match="is no address of a store"):
        mine_hard_negatives(Dictionary(), TABLE, store="nowhere")
    with pytest.raises(TypeError, match="store is 3; give a store, or the address of one"):
        mine_hard_negatives(Dictionary(), TABLE, store=3)


def test_nothing_is_encoded_for_options_that_cannot_be():
    model = HashModel()
    store = make_store(model, CORPUS)
    model.encoded.clear()
    with pytest.raises(TypeError, match="texts is a int; give a mapping"):
        mine_hard_negatives(model, TABLE, store=store, texts=3)
    with pytest.raises(ValueError, match="index is 'flatt'"):
        mine_hard_negatives(model, TABLE, index="flatt")
    with pytest.raises(ValueError, match="there are no passages in 'fi'"):
        mine_hard_negatives(model, TABLE, languages=["fi"])
    assert not {"q", "f", "own 5", "sein 4"} & set(model.encoded)


def test_passages_are_found_by_text_or_id():
    table = make_table(
        ("a", "en", "q", "one"), ("b", "en", "r", "two"), ("c", "en", "s", None),
        passage_id=["x:1", None, None],
    )  # fmt: skip
    answers = Answers.of_table(table)
    known = KnownPassages.of_table(table, answers)
    ids, texts = ["x:1", "1", "z", "data:x:1"], ["three", "two ", "four", "five"]
    found = known.find(pa.array(ids), hash_texts(pa.array(texts)))
    assert found.tolist() == [*answers.passages[[0, 1]], -1, -1]


def test_an_id_is_not_taken_for_a_text():
    """Texts and ids that are equal numbers are different passages."""
    table = make_table(("a", "en", "q", "7"), ("b", "en", "r", "8"), passage_id=["8", "7"])
    answers = Answers.of_table(table)
    known = KnownPassages.of_table(table, answers)
    found = known.find(pa.array(["7", "8", "z"]), hash_texts(pa.array(["other", "words", "7"])))
    assert found.tolist() == answers.passages[[1, 0, 0]].tolist()


def test_texts_of_a_store_are_held_some_at_a_time(monkeypatch):
    table, model = draw_table(4), HashModel()
    store = make_store(model, [(f"doc {n}", "en", f"text {n}") for n in range(50)])
    options = {**LOOSE, "languages": "pool"}
    whole = mine_hard_negatives(model, table, store=store, **options)
    monkeypatch.setattr(candidates, "_TEXTS_AT_A_TIME", 7)
    most, texts = [], store.texts
    monkeypatch.setattr(store, "texts", lambda ids: [most.append(len(ids)), texts(ids)][1])
    assert (
        mine_hard_negatives(model, table, store=store, **options).fingerprint == whole.fingerprint
    )
    assert max(most[:-1]) == 7  # at last those of the negatives


def test_a_search_may_find_nothing():
    store = make_store(Dictionary(), CORPUS)
    count, store.languages = store.languages(), lambda: count
    store.delete([each for each, _, _ in CORPUS])
    assert mine_hard_negatives(Dictionary(), TABLE, store=store).dataset["negatives"][:] == [[], []]


def test_scores_are_those_of_the_store():
    class Halved(MemoryStore):
        def search(self, queries, k, languages=None):
            found = super().search(queries, k, languages)
            return found._replace(scores=found.scores / 2)

    store = make_store(Dictionary(), CORPUS)
    store.__class__ = Halved
    found = mine_hard_negatives(Dictionary(), TABLE, store=store).dataset[0]
    assert found["negatives"] == ["found 8", "found 3"]
    np.testing.assert_array_equal(found["negative_scores"], [4.0, 1.5])
