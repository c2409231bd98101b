"""A store made of an encoded corpus, or grown by one, and what its searches find of the truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.retrieval.corpora.encoded import EncodedCorpus
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.exact_search import search
from hybrid_fast.retrieval.stores import Rows, Store, StoreHits, create_store, open_store
from hybrid_fast.retrieval.stores.checks import check_tuning
from hybrid_fast.retrieval.stores.recall import (
    RECALL_DEPTH,
    RECALL_QUERIES,
    TRUTH_DEPTH,
    mean_recall,
)

_QUIET: dict[str, Any] = {"delay": 2, "disable": None, "leave": False}


@dataclass(frozen=True)
class IndexReport:
    """What `index_corpus` made.

    Attributes:
        address: of the store.
        index: what it searches by.
        rows: how many vectors it has.
        languages: number of vectors of each language.
        size: its bytes on the disk; None if they are elsewhere.
        recall: recall@10 against exact search; None if it was not measured. It is that of the
            queries that were given, or of vectors of the corpus, the nearest hit of each (by cosine
            its own row) left out.
        queries: how many they were.
        seconds: that all took, the measurement apart.
    """

    address: str
    index: str
    rows: int
    languages: dict[str, int]
    size: int | None
    recall: float | None
    queries: int
    seconds: float


def index_corpus(
    corpus: str | Path | EncodedCorpus,
    address: str,
    *,
    index: str = "auto",
    store_texts: bool | None = None,
    replace: bool = False,
    add: bool = False,
    queries: np.ndarray | None = None,
    seed: int = 0,
    **options: Any,
) -> IndexReport:
    """Put the vectors of an encoded corpus into a store, which is whole at the end or not at all.

    One shard is held at a time.

    Args:
        corpus: an encoded corpus, or its folder.
        address: of the store, such as "faiss:FOLDER".
        index: what searches are done by; see the kind of store.
        store_texts: whether texts are kept too; default if the corpus has them.
        replace: make a store anew that is there; it stays until the new one is whole.
        add: add to a store that is there. Rows whose id it has take their place.
        queries: such as will be asked, float32 (n, D), as the model encodes them. Half of them the
            effort of searches is chosen for, see `Store.tune`, and by the others recall is
            measured. Default: vectors of the corpus, of whose neighbours more is found.
        seed: of the vectors of the corpus that recall is measured with.
        **options: those of the kind of store.

    Raises:
        FileExistsError: there is a store, and neither `add` nor `replace` is given, or another
            process writes to it.
        FileNotFoundError: the corpus was not encoded to the end, or there is no store to add to.
        ValueError: a shard is damaged, the store is of another model, queries are none or not as
            the model encodes them, or an option is wrong.
        OSError: the store cannot be written.
    """
    corpus = corpus if isinstance(corpus, EncodedCorpus) else EncodedCorpus(corpus)
    keeps_texts = corpus.manifest.has_texts if store_texts is None else store_texts
    if keeps_texts and not corpus.manifest.has_texts:
        raise ValueError(
            f"{corpus.folder} has no texts to store; encode it with --store-texts, or ask for none "
            "here (--no-texts)"
        )
    of_rows = queries is None
    if queries is None:
        asked = corpus.sample(RECALL_QUERIES, seed)
    else:
        check_tuning(queries, corpus.info)
        asked = queries[1::2] if len(queries) > 1 else queries
    truth = None if add else _Truth(asked, corpus.info.similarity)
    start, measured = time.perf_counter(), 0.0
    with _opened(corpus, address, index, replace, add, options) as store:
        if queries is not None:
            store.tune(queries[::2])
        for rows in tqdm(corpus, "index", len(corpus.manifest.shards), unit="shard", **_QUIET):
            store.add(rows if keeps_texts else rows._replace(texts=None))
            if truth is not None:
                measured -= time.perf_counter()
                truth.update(rows)
                measured += time.perf_counter()
        store.commit()
        seconds = time.perf_counter() - start - measured
        return IndexReport(
            address=store.address,
            index=store.index,
            rows=store.count(),
            languages=store.languages(),
            size=store.size(),
            recall=_recall(store, asked, truth, of_rows),
            queries=len(asked),
            seconds=seconds,
        )


def _opened(
    corpus: EncodedCorpus,
    address: str,
    index: str,
    replace: bool,
    add: bool,
    options: dict[str, Any],
) -> Store:
    if not add:
        made = {"index": index, "replace": replace, "dtype": corpus.manifest.vector_dtype}
        return create_store(address, corpus.info, **{**made, **options})
    if replace or index != "auto":
        given = "replace" if replace else f"index={index!r}"
        raise ValueError(f"{given} makes a store anew; leave it out, or leave out add")
    store = open_store(address, **options)
    try:
        store.info.check_model(corpus.info, address)
    except ValueError:
        store.close()
        raise
    return store


class _Truth:
    """The nearest rows of some queries by exact search, gathered as rows are added.

    Attributes:
        hits: the first of each query.
    """

    def __init__(self, queries: np.ndarray, similarity: str) -> None:
        self._normalizes = similarity == "cosine"
        self._queries = self._prepared(queries)
        self._ids = np.empty((len(queries), 0), object)
        self._scores = np.empty((len(queries), 0), np.float32)

    @property
    def hits(self) -> StoreHits:
        return StoreHits(self._ids.tolist(), [], self._scores)

    def update(self, rows: Rows) -> None:
        """Compare more rows."""
        if not len(rows.ids):
            return
        found = search(self._queries, self._prepared(rows.vectors), TRUTH_DEPTH)
        ids = np.concatenate([self._ids, np.array(rows.ids, object)[found.rows]], axis=1)
        scores = np.concatenate([self._scores, found.scores], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :TRUTH_DEPTH]
        self._ids = np.take_along_axis(ids, order, 1)
        self._scores = np.take_along_axis(scores, order, 1)

    def _prepared(self, vectors: np.ndarray) -> np.ndarray:
        return normalize_rows(vectors) if self._normalizes else vectors


def _recall(store: Store, queries: np.ndarray, truth: _Truth | None, of_rows: bool) -> float | None:
    """Return the recall of a store; None if there is nothing to compare."""
    exact = truth.hits if truth is not None else store.search_exactly(queries, TRUTH_DEPTH)
    if exact is None or not len(queries) or store.count() < 1 + of_rows:
        return None
    found = store.search(queries, RECALL_DEPTH + of_rows)
    return mean_recall(found.ids, exact.ids, exact.scores, of_rows=of_rows)
