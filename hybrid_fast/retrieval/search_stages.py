"""The stages of a search: hits of a store, their fusion with a sparse index, and a reranker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from hybrid_fast.retrieval.fusion import FusionRule, RankedIds, fuse_rankings
from hybrid_fast.retrieval.reranking import Reranker, check_reranker, score_pairs
from hybrid_fast.retrieval.stores import Store, StoreHits
from hybrid_fast.retrieval.text_sources import HitTexts


class SparseIndex(Protocol):
    """A search by words, such as `BM25Index`; with `add` and `delete` it follows the store."""

    def search(
        self, queries: Sequence[str], k: int, languages: Collection[str] | None = None, /
    ) -> StoreHits:
        """Return the first k hits of each query, best first; see `Store.search`."""


class Ranking(NamedTuple):
    """Hits of a query, best first: ids, the language of each, and scores, float (n,)."""

    ids: Sequence[str]
    languages: Sequence[str]
    scores: np.ndarray

    def first(self, k: int) -> Ranking:
        """Return the k best."""
        return Ranking(self.ids[:k], self.languages[:k], self.scores[:k])

    def scored(self, scores: np.ndarray) -> Ranking:
        """Return the hits ordered by other scores, equal ones as they are ordered here."""
        order = np.argsort(-scores, kind="stable")
        places = order.tolist()
        return Ranking(
            [self.ids[place] for place in places],
            [self.languages[place] for place in places],
            scores[order],
        )


def follower_of(sparse: SparseIndex | None, method: str) -> Callable[[Any], object]:
    """Return the method by which a sparse index follows a change of the store.

    Raises:
        TypeError: it has none of this name.
    """
    if sparse is None:
        return lambda given: None
    follow = getattr(sparse, method, None)
    if not callable(follow):
        raise TypeError(
            f"sparse is a {type(sparse).__name__} without {method}, and would not know of the "
            "change; change the store by a retriever without it, and build it anew"
        )
    return follow


@dataclass
class Stages:
    """What a search goes through; see `Retriever`.

    Attributes:
        store: finds the first hits.
        texts: those of hits, which a reranker needs.
        sparse: an index whose hits are fused with those of the store.
        fusion: the rule of fusion.
        fusion_depth: first hits of each that are fused, or k if that is more.
        reranker: scores first hits anew.
        rerank_depth: how many, or k if that is more.
        batch_size: pairs that the reranker is to take at a time.

    Raises:
        TypeError: the sparse index cannot search, or the reranker scores no pairs.
    """

    store: Store
    texts: HitTexts
    sparse: SparseIndex | None
    fusion: FusionRule
    fusion_depth: int
    reranker: Reranker | None
    rerank_depth: int
    batch_size: int | None

    def __post_init__(self) -> None:
        if self.sparse is not None and not callable(getattr(self.sparse, "search", None)):
            raise TypeError(
                f"sparse is a {type(self.sparse).__name__}; give an object with search(queries, k, "
                "languages), such as BM25Index(corpus)"
            )
        if self.reranker is not None:
            check_reranker(self.reranker)

    def depth(self, k: int) -> int:
        """Return how many hits a query may have at once on the way to its k best."""
        return max(
            k,
            0 if self.sparse is None else self.fusion_depth,
            0 if self.reranker is None else self.rerank_depth,
        )

    def rank(
        self, queries: Sequence[str], vectors: np.ndarray, k: int, languages: Collection[str] | None
    ) -> list[Ranking]:
        """Return the k best hits of each query.

        Args:
            queries: n texts.
            vectors: of them, float32 (n, D).
            k: hits of a query; fewer where there are no more.
            languages: of the hits, as the store calls them; None for all.

        Raises:
            ValueError: the store or the sparse index has none of a language; a hit that is to be
                reranked has no text; a score is no number.
        """
        depth = k if self.reranker is None else max(k, self.rerank_depth)
        if self.sparse is None:
            rankings = _as_rankings(self.store.search(vectors, depth, languages))
        else:
            rankings = self._fuse(queries, vectors, depth, languages)
        if self.reranker is not None:
            rankings = self._rerank(queries, [each.first(depth) for each in rankings])
        return [each.first(k) for each in rankings]

    def _fuse(
        self,
        queries: Sequence[str],
        vectors: np.ndarray,
        depth: int,
        languages: Collection[str] | None,
    ) -> list[Ranking]:
        assert self.sparse is not None
        depth = max(depth, self.fusion_depth)
        both = (
            self.store.search(vectors, depth, languages),
            self.sparse.search(queries, depth, languages),
        )
        dense, sparse = (RankedIds(each.ids, each.scores) for each in both)
        fused = fuse_rankings(sparse, dense, self.fusion)
        language_of = {
            each: language
            for hits in both
            for ids, codes in zip(hits.ids, hits.languages, strict=True)
            for each, language in zip(ids, codes, strict=True)
        }
        return [Ranking(ids, [language_of[each] for each in ids], scores) for ids, scores in fused]

    def _rerank(self, queries: Sequence[str], rankings: Sequence[Ranking]) -> list[Ranking]:
        assert self.reranker is not None
        texts = self.texts.needed([each.ids for each in rankings], "the reranker")
        lengths = [len(each.ids) for each in rankings]
        scores = score_pairs(
            self.reranker,
            [query for query, n in zip(queries, lengths, strict=True) for _ in range(n)],
            [texts[each] for ranking in rankings for each in ranking.ids],
            self.batch_size,
        )
        parts = np.split(scores, np.cumsum(lengths)[:-1])
        return [ranking.scored(own) for ranking, own in zip(rankings, parts, strict=True)]


def _as_rankings(hits: StoreHits) -> list[Ranking]:
    rows = zip(hits.ids, hits.languages, hits.scores, strict=True)
    return [Ranking(ids, codes, scores[: len(ids)]) for ids, codes, scores in rows]
