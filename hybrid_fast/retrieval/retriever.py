"""A retriever: a model, a store of vectors and the texts that belong to them.

A search has up to three stages: the first hits of the store; their fusion with those of a sparse
index, BM25 say; and a reranker, which scores the texts of the first hits anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import NamedTuple, Self, overload

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.common.texts import id_text
from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.data.formats.trec_runs import Run, check_run_ids, strictly_falling, write_run
from hybrid_fast.data.languages import codes_meant, normalize_language
from hybrid_fast.retrieval.encoders import find_encoders
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.fusion import DEPTH, FusionRule, find_rule
from hybrid_fast.retrieval.reranking import Reranker
from hybrid_fast.retrieval.retriever_inputs import (
    at_least_one,
    check_fits,
    checked_passage,
    checked_queries,
)
from hybrid_fast.retrieval.search_stages import Ranking, SparseIndex, Stages, follower_of
from hybrid_fast.retrieval.shared_work import hides_progress
from hybrid_fast.retrieval.stores import Rows, Store, open_store
from hybrid_fast.retrieval.text_sources import HitTexts, TextSource

RERANK_DEPTH = 100
RUN_DEPTH = 1000
# Texts encoded at a time, and the hits of a search: what is held is one part of each.
TEXTS_PER_PART, HITS_PER_PART = 4096, 2**18


class Hit(NamedTuple):
    """A passage that was found.

    Attributes:
        id: of the passage.
        score: the higher, the better: the similarity; after fusion the fused score, and the
            reranker's where there is one.
        language: of the passage.
        text: None if neither the store nor `texts` has it.
    """

    id: str
    score: float
    language: str
    text: str | None


class Retriever:
    """Finds passages of a store for queries.

    Args:
        model: the one whose vectors the store keeps; see `find_encoders`.
        store: a store, or the address of one, which is then opened, and closed by `close`.
        texts: of the passages: a mapping of ids to texts, or an object with `texts(ids)`. The store
            is asked for what it lacks; default the store alone.
        sparse: a search by words whose hits are fused with those of the store.
        fusion: "rrf" (`reciprocal_ranks`), "weighted" (`weighted_scores`), or a function like
            these.
        fusion_depth: first hits of each ranking that are fused, or k if that is more.
        reranker: scores pairs of a query and a text: a function of both that returns scores, or a
            CrossEncoder; see `score_pairs`.
        rerank_depth: first hits that it scores, or k if that is more.
        batch_size: texts that the model, and pairs that the reranker is to take at a time; default
            their own.

    Raises:
        FileNotFoundError: there is no store at the address.
        TypeError: the model cannot encode texts, or an argument is of a wrong type.
        ValueError: the store keeps vectors of another model, or an argument has a wrong value.
    """

    def __init__(
        self,
        model: object,
        store: Store | str,
        *,
        texts: Mapping[str, str] | TextSource | None = None,
        sparse: SparseIndex | None = None,
        fusion: FusionRule | str = "rrf",
        fusion_depth: int = DEPTH,
        reranker: Reranker | None = None,
        rerank_depth: int = RERANK_DEPTH,
        batch_size: int | None = None,
    ) -> None:
        self._encode_queries, self._encode_passages = find_encoders(model)
        self.model, self.sparse = model, sparse
        self.batch_size = None if batch_size is None else at_least_one("batch_size", batch_size)
        self._opened = isinstance(store, str)
        self.store = open_store(store) if isinstance(store, str) else store
        try:
            check_fits(model, self.store)
            self._texts = HitTexts(self.store, texts)
            self._stages = Stages(
                self.store,
                self._texts,
                sparse,
                find_rule(fusion),
                at_least_one("fusion_depth", fusion_depth),
                reranker,
                at_least_one("rerank_depth", rerank_depth),
                self.batch_size,
            )
        except BaseException:
            self.close()
            raise

    @overload
    def search(  # type: ignore[overload-overlap]
        self, queries: str, k: int = 10, languages: str | Collection[str] | None = None
    ) -> list[Hit]: ...
    @overload
    def search(
        self, queries: Sequence[str], k: int = 10, languages: str | Collection[str] | None = None
    ) -> list[list[Hit]]: ...
    def search(
        self,
        queries: str | Sequence[str],
        k: int = 10,
        languages: str | Collection[str] | None = None,
    ) -> list[Hit] | list[list[Hit]]:
        """Find the k best passages for each query.

        Args:
            queries: texts, or one.
            k: hits of a query; fewer where the store, or its languages, have no more.
            languages: codes of the passages' languages in any spelling, or one; default all.

        Returns:
            The hits of each query, best first; of a single text its hits alone.

        Raises:
            TypeError: a query is no text.
            ValueError: a query is empty, k is below 1, the store has no passage in a language, or
                the reranker finds no text or gives no number.
        """
        if isinstance(queries, str):
            (hits,) = self.search_each([queries], k, languages)
            return hits
        return list(self.search_each(queries, k, languages))

    def search_each(
        self,
        queries: Iterable[str],
        k: int = 10,
        languages: str | Collection[str] | None = None,
        *,
        with_texts: bool = True,
    ) -> Iterator[list[Hit]]:
        """Yield the hits of each query; what is held is some thousand queries and their hits.

        Args:
            queries: texts, read as they are needed.
            k: as in `search`.
            languages: as in `search`.
            with_texts: whether hits have texts, which take a while to read.

        Raises:
            TypeError, ValueError: as `search`.
        """
        if isinstance(queries, str):
            raise TypeError("queries is a single text; give a list of texts")
        k, codes = at_least_one("k", k), self._codes(languages)
        total = length_hint(queries) or None
        return self._as_hits(self._rank(checked_queries(queries), k, codes, total), with_texts)

    def run(
        self,
        queries: Mapping[str, str],
        k: int = RUN_DEPTH,
        languages: str | Collection[str] | None = None,
    ) -> Run:
        """Return a TREC run, query id to passage id to score; `write_run` holds none.

        Equal scores are told apart as in the file of a run.

        Args:
            queries: texts by their ids.
            k: as in `search`.
            languages: as in `search`.

        Raises:
            TypeError, ValueError: as `search`.
        """
        return {
            query: dict(zip(ids, strictly_falling(scores).tolist(), strict=True))
            for query, ids, scores in self._rank_queries(queries, k, languages)
        }

    def write_run(
        self,
        path: str | Path,
        queries: Mapping[str, str],
        k: int = RUN_DEPTH,
        languages: str | Collection[str] | None = None,
        *,
        tag: str | None = None,
    ) -> None:
        """Write a TREC run; what is held is some thousand queries and their hits.

        Args:
            path: the file, compressed as its suffix says; it appears complete or not.
            queries: texts by their ids.
            k: as in `search`.
            languages: as in `search`.
            tag: the last field of each line; default the name of the model.

        Raises:
            TypeError: as `search`.
            ValueError: as `search`, or an id is empty or contains white space.
        """
        check_run_ids(map(str, queries))
        ranked = self._rank_queries(queries, k, languages)
        write_run(Path(path), ranked, self.store.info.model if tag is None else tag)

    def add(
        self,
        passages: Iterable[CorpusText | tuple[str, str, str]],
        *,
        keep_texts: bool = True,
        keep_variants: bool = False,
    ) -> int:
        """Encode passages, add them to the store, and commit; return how many there were.

        A passage takes the place of one with its id. The sparse index follows.

        Args:
            passages: id, language and text of each, as a corpus gives them; read a part at a time.
            keep_texts: whether the store keeps their texts.
            keep_variants: keep scripts and regions of languages (zh-Hant), which are otherwise left
                out of codes that the store does not have.

        Raises:
            TypeError: an id or a text is no text, or the sparse index cannot be added to.
            ValueError: an id is empty or given twice, a language is unknown, or a text is empty.
                What was added before stays, and is not committed.
        """
        follow = follower_of(self.sparse, "add")
        seen: set[str] = set()
        known = self.store.language_codes()
        checked = (checked_passage(each, known, seen, keep_variants) for each in passages)
        while part := list(islice(checked, TEXTS_PER_PART)):
            ids, languages, texts = zip(*part, strict=True)
            vectors = encode(self._encode_passages, texts, self.batch_size, "passages")
            self.store.add(Rows(ids, languages, vectors, list(texts) if keep_texts else None))
            follow(part)
        self.store.commit()
        return len(seen)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Delete passages from the store, and commit; return how many there were of these ids.

        Raises:
            TypeError: the sparse index cannot be deleted from.
        """
        follow = follower_of(self.sparse, "delete")
        given = [ids] if isinstance(ids, str) else ids
        listed = [id_text(each, "an id to delete") for each in given]
        num_deleted = self.store.delete(listed)
        follow(listed)
        self.store.commit()
        return num_deleted

    def close(self) -> None:
        """Close the store if this opened it."""
        if self._opened:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _codes(self, languages: str | Collection[str] | None) -> list[str] | None:
        """Return the codes of the store that some codes stand for."""
        if languages is None:
            return None
        given = [languages] if isinstance(languages, str) else list(languages)
        if not given:
            raise ValueError("languages is empty; name at least one, or leave it out for all")
        known = self.store.language_codes()
        # A language that the store lacks goes on to it, for its error.
        meant = [codes_meant(code, known) or [normalize_language(code)] for code in given]
        return sorted({code for codes in meant for code in codes})

    def _rank_queries(
        self, queries: Mapping[str, str], k: int, languages: str | Collection[str] | None
    ) -> Iterator[tuple[str, list[str], np.ndarray]]:
        """Yield the id of each query, the ids of its hits, and their scores, float32 (n,)."""
        if not isinstance(queries, Mapping):
            raise TypeError(
                f"queries is a {type(queries).__name__}; give a mapping of query ids to texts"
            )
        names = [id_text(each, "the id of a query") for each in queries]
        if len(set(names)) < len(names):
            raise ValueError("queries has an id twice, as text and as a number")
        k, codes = at_least_one("k", k), self._codes(languages)
        texts = checked_queries(queries.values(), names)
        rankings = (each for part in self._rank(texts, k, codes, len(names)) for each in part)
        for name, (ids, _, scores) in zip(names, rankings, strict=True):
            yield name, list(ids), scores.astype(np.float32)

    def _rank(
        self, queries: Iterator[str], k: int, codes: list[str] | None, total: int | None
    ) -> Iterator[list[Ranking]]:
        """Yield the hits of some queries until all are done, `total` of them if that is known."""
        step = max(1, HITS_PER_PART // self._stages.depth(k))
        with tqdm(
            total=total,
            desc="search",
            unit="query",
            delay=2,
            disable=hides_progress(),
            leave=False,
        ) as progress:
            while part := list(islice(queries, TEXTS_PER_PART)):
                vectors = encode(self._encode_queries, part, self.batch_size, "queries")
                for start in range(0, len(part), step):
                    rows = slice(start, start + step)
                    yield self._stages.rank(part[rows], vectors[rows], k, codes)
                    progress.update(len(part[rows]))

    def _as_hits(self, parts: Iterable[Sequence[Ranking]], with_texts: bool) -> Iterator[list[Hit]]:
        for rankings in parts:
            texts = self._texts.by_id([each.ids for each in rankings]) if with_texts else {}
            for ids, languages, scores in rankings:
                rows = zip(ids, scores.tolist(), languages, strict=True)
                yield [Hit(each, score, code, texts.get(each)) for each, score, code in rows]
