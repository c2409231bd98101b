"""What every store must do: cases that the tests of each kind of store inherit."""

from __future__ import annotations

import numpy as np
import pytest
from memory_store import MemoryStore

from hybrid_fast.retrieval.fingerprint import Fingerprint
from hybrid_fast.retrieval.stores import Rows, Store
from hybrid_fast.retrieval.vector_info import VectorInfo

DIMENSION = 8


def made_info(similarity="cosine", dimension=DIMENSION) -> VectorInfo:
    fingerprint = Fingerprint("w", [[1.0] * dimension], dtypes=["float32"])
    return VectorInfo("tiny", fingerprint, similarity, dimension)


def draw_rows(num: int, first: int = 0, seed: int = 0, texts: bool = True) -> Rows:
    rng = np.random.default_rng(seed)
    ids = [f"doc {number}" for number in range(first, first + num)]
    languages = [("de", "en", "th")[number % 3] for number in range(num)]
    vectors = rng.standard_normal((num, DIMENSION)).astype(np.float32)
    return Rows(ids, languages, vectors, [f"text of {each}" for each in ids] if texts else None)


def draw_queries(num: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, DIMENSION)).astype(np.float32)


class StoreCases:
    """Subclasses have fixtures: `new`, which makes an empty store of a VectorInfo, and `reopened`,
    which commits and closes a store and opens it again."""

    def check_same(self, store: Store, truth: MemoryStore, queries, k, languages=None) -> None:
        found, asked = (each.search(queries, k, languages) for each in (store, truth))
        assert found.ids == asked.ids
        assert found.languages == asked.languages
        np.testing.assert_allclose(found.scores, asked.scores, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("similarity", ["cosine", "dot"])
    @pytest.mark.parametrize("languages", [None, ["de"], ["en", "th"]])
    def test_finds_what_the_definition_finds(self, new, reopened, similarity, languages):
        store, truth = new(made_info(similarity)), MemoryStore(made_info(similarity))
        for first, num in ((0, 40), (40, 1), (41, 23)):
            rows = draw_rows(num, first, seed=first)
            store.add(rows)
            truth.add(rows)
        queries = draw_queries(5)
        for k in (1, 7, 64, 100):  # 100 is more than there are
            self.check_same(store, truth, queries, k, languages)
        store = reopened(store)
        assert store.info == truth.info
        assert store.count() == 64
        assert store.languages() == truth.languages()
        self.check_same(store, truth, queries, 7, languages)

    def test_added_again_replaces_and_deleted_is_gone(self, new, reopened):
        store, truth = new(made_info()), MemoryStore(made_info())
        changed = draw_rows(5, 3, seed=9)._replace(languages=["fi"] * 5, texts=list("abcde"))
        for each in (store, truth):
            each.add(draw_rows(30))
            each.add(changed)
            assert each.delete(["doc 0", "doc 4", "doc 99"]) == 2
            assert each.count() == 28
        assert store.languages() == truth.languages()
        assert store.texts(["doc 3", "doc 4", "doc 29"]) == ["a", None, "text of doc 29"]
        self.check_same(store, truth, draw_queries(4), 28)
        store = reopened(store)
        self.check_same(store, truth, draw_queries(4), 28, ["fi"])
        assert store.texts(["doc 5", "doc 0"]) == ["c", None]

    @pytest.mark.parametrize(
        ("queries", "k", "languages", "message"),
        [
            (draw_queries(1), 0, None, "k is 0"),
            (draw_queries(1)[:, :3], 1, None, r"\(1, 3\)"),
            (draw_queries(1) * np.float32("nan"), 1, None, "NaN"),
            (draw_queries(1), 1, ["de", "xx"], "'xx'.*de"),
        ],
    )
    def test_searches_that_cannot_be(self, new, queries, k, languages, message):
        store = new(made_info())
        store.add(draw_rows(9))
        with pytest.raises(ValueError, match=message):
            store.search(queries, k, languages)

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"ids": ["a", "b", "a"]}, "'a'"),
            ({"ids": ["a", "", "c"]}, "empty"),
            ({"vectors": np.zeros((3, 5), np.float32)}, r"\(3, 5\)"),
            ({"vectors": np.full((3, DIMENSION), np.nan, np.float32)}, "NaN"),
            ({"vectors": np.full((3, DIMENSION), 1e19, np.float32)}, "beyond float32"),
        ],
    )
    def test_rows_that_cannot_be_added(self, new, changed, message):
        store = new(made_info())
        store.add(draw_rows(6))
        with pytest.raises(ValueError, match=message):
            store.add(draw_rows(3)._replace(**changed))
        assert store.count() == 6

    def test_queries_none_and_store_empty(self, new):
        store = new(made_info())
        assert store.search(draw_queries(2), 3).ids == [[], []]
        store.add(draw_rows(6))
        found = store.search(draw_queries(0), 3)
        assert found.ids == []
        assert found.scores.shape == (0, 3)
