"""Fusion with a sparse index and reranking give what they give when written plainly."""

import numpy as np
import pytest
from passages import PASSAGES, QUERIES, TEXTS

from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.retrieval import BM25Index, Retriever


def slow_rrf(sparse, dense):
    fused = {}
    for ranking in (sparse, dense):
        for rank, (each, _) in enumerate(ranking, 1):
            fused[each] = fused.get(each, 0) + 1 / (60 + rank)
    return fused


def slow_weighted(sparse, dense):
    fused = {}
    for each in dict.fromkeys(each for each, _ in [*sparse, *dense]):
        for ranking in (sparse, dense):
            scores = [score for _, score in ranking]
            low, high = min(scores, default=0), max(scores, default=0)
            scaled = (dict(ranking).get(each, low) - (low + high) / 2) / ((high - low) or 1)
            fused[each] = fused.get(each, 0) + (scaled if high > low else 0)
    return fused


@pytest.mark.parametrize(("rule", "slow"), [("rrf", slow_rrf), ("weighted", slow_weighted)])
@pytest.mark.parametrize(("k", "depth"), [(3, 8), (9, 4), (70, 60)])
def test_fusion_with_a_sparse_index(model, found, rule, slow, k, depth):
    sparse = BM25Index(PASSAGES)
    both = Retriever(model, found.store, sparse=sparse, fusion=rule, fusion_depth=depth)
    depth = max(k, depth)
    words, queries = sparse.search(QUERIES, depth), [*QUERIES, "no word of these"]
    lexical = [list(zip(*row, strict=False)) for row in zip(words.ids, words.scores, strict=True)]
    dense = [[hit[:2] for hit in hits] for hits in found.search(queries, depth)]
    for one, other, hits in zip([*lexical, []], dense, both.search(queries, k), strict=True):
        expected = slow(one, other)
        best = sorted(expected.values(), reverse=True)[:k]
        np.testing.assert_allclose([hit.score for hit in hits], best, rtol=1e-6, atol=1e-6)
        for hit in hits:
            assert hit.score == pytest.approx(expected[hit.id], rel=1e-6, abs=1e-6)
            assert CorpusText(hit.id, hit.language, hit.text) in PASSAGES


def test_the_sparse_index_has_the_languages_asked_for_and_follows_the_store(model, found):
    both = Retriever(model, found.store, sparse=BM25Index(PASSAGES))
    assert {hit.language for some in both.search(QUERIES, 20, "zh") for hit in some} == {"zh-Hant"}
    both.add([("new", "fi", "unheard"), ("p0", "de", "unseen")])
    assert both.search("unheard", 1)[0].id == "new"
    assert both.search("unseen", 1)[0].id == "p0"
    both.delete(["new"])
    assert all(hit.id != "new" for hit in both.search("unheard", 99))

    class Fixed:
        def search(self, queries, k, languages=None):
            return BM25Index(PASSAGES).search(queries, k, languages)

    fixed = Retriever(model, found.store, sparse=Fixed())
    for change in (lambda: fixed.add([("x", "en", "y")]), lambda: fixed.delete("p3")):
        with pytest.raises(TypeError, match="sparse is a Fixed without"):
            change()
    assert found.store.count() == 60


def by_length(queries, texts):
    return [
        len(text) - 2 * abs(len(text) - len(query))
        for query, text in zip(queries, texts, strict=True)
    ]


@pytest.mark.parametrize(("k", "depth"), [(3, 10), (5, 5), (20, 10), (70, 100)])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_first_hits_are_reranked(model, found, k, depth, sparse):
    given = {"sparse": BM25Index(PASSAGES)} if sparse else {}
    first = Retriever(model, found.store, **given).search(QUERIES, max(k, depth))
    reranked = Retriever(
        model, found.store, **given, reranker=by_length, rerank_depth=depth
    ).search(QUERIES, k)
    for query, before, after in zip(QUERIES, first, reranked, strict=True):
        scores = by_length([query] * len(before), [hit.text for hit in before])
        order = sorted(range(len(before)), key=lambda place: -scores[place])[:k]
        assert after == [before[place]._replace(score=scores[place]) for place in order]


def test_a_reranker_needs_texts_and_gives_numbers(model, store):
    made = Retriever(model, store, reranker=by_length)
    made.add(PASSAGES[:5], keep_texts=False)
    with pytest.raises(
        ValueError, match=r"needs the texts of hits, and there is none of 'p\d' \(5 of 5"
    ):
        made.search("cat", 2)
    named = Retriever(model, store, reranker=by_length, texts=TEXTS)
    assert len(named.search("cat", 2)) == 2
    broken = Retriever(model, store, reranker=lambda q, t: [float("nan")] * len(q), texts=TEXTS)
    with pytest.raises(ValueError, match="scored pair 0 with nan"):
        broken.search("cat", 2)
