"""A store in Milvus: in a file of Milvus Lite, on a server or in a cluster, by the same calls.

A store is a collection. What is added is kept by Milvus at once; the collection counts as whole
from its first commit on. One that is to replace another is filled under a name of its own, and
takes the other's place at that commit.

Equal scores are ordered by id, among the hits that Milvus gives: which of equal ones at the end of
the k it gives is its own choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from hybrid_fast.common.choices import check_choice
from hybrid_fast.retrieval.embeddings import check_finite, normalize_rows
from hybrid_fast.retrieval.stores.checks import check_rows, check_search
from hybrid_fast.retrieval.stores.milvus import collections as collections
from hybrid_fast.retrieval.stores.milvus.batches import id_parts, message_ranges, text_sizes
from hybrid_fast.retrieval.stores.milvus.calls import RETRIES, TIMEOUT, MilvusCalls
from hybrid_fast.retrieval.stores.milvus.collections import Described, VectorDtype, quoted
from hybrid_fast.retrieval.stores.milvus.opening import begin, describe, open_whole, take_place
from hybrid_fast.retrieval.stores.milvus.places import find_place
from hybrid_fast.retrieval.stores.store import Rows, Store, StoreHits
from hybrid_fast.retrieval.vector_info import VectorInfo

MAX_K = 16_384  # hits of a query that a server gives
# Hits of a call to search, which Milvus holds at once; and its queries, each with a score a vector.
_HITS_AT_A_TIME = 50_000
_QUERIES_AT_A_TIME = 256
_ALL = 1 << 31  # rows of Milvus Lite


def create(
    place: str,
    info: VectorInfo,
    *,
    index: str = "auto",
    dtype: VectorDtype = "float32",
    replace: bool = False,
    partitions: int = 64,
    search: str | Mapping[str, Any] = "",
    token: str | None = None,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
) -> MilvusStore:
    """Make an empty store.

    Args:
        place: FILE.db or http://HOST:PORT, either with /COLLECTION behind it.
        info: whose vectors it will keep.
        index: a kind of index of Milvus with its parameters, such as
            "HNSW,M=32,efConstruction=200"; "auto" is FLAT, which is exact, in Milvus Lite, and
            what a server chooses elsewhere.
        dtype: of the vectors on a server; Milvus Lite has float32 alone.
        replace: whether a store that is there is replaced, at the first commit of this one.
        partitions: over which a server spreads the languages, at most 1,024.
        search: parameters of searches, such as "ef=200" or {"ef": 200}.
        token: see `MilvusCalls`.
        timeout: see `MilvusCalls`.
        retries: see `MilvusCalls`.

    Raises:
        FileExistsError: there is a store already, or another collection of this name.
        ConnectionError, PermissionError, OSError: see `MilvusCalls`.
        ValueError: an option is wrong.
        ImportError: the extra "milvus" is not installed.
    """
    found, parameters = find_place(place), collections.read_parameters(search)
    _check_options(index, dtype, partitions)
    calls = MilvusCalls(found, token=token, timeout=timeout, retries=retries)
    try:
        if index == "auto":
            index = "FLAT" if calls.lite else "AUTOINDEX"
        kind, _ = collections.split_index(index)
        if calls.lite:
            check_choice("index", kind, collections.LITE_INDEXES)
        kept: VectorDtype = "float32" if calls.lite else dtype
        store = Described(info, kept, kind, False, collections.this_writer())
        name = begin(calls, store, index, partitions, replace)
        return MilvusStore(calls, name, store, parameters)
    except BaseException:
        calls.close()
        raise


def open(
    place: str,
    *,
    search: str | Mapping[str, Any] = "",
    token: str | None = None,
    timeout: float = TIMEOUT,
    retries: int = RETRIES,
) -> MilvusStore:
    """Open a store; arguments and errors are those of `create`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was never finished, or the collection is no store.
    """
    found = find_place(place)
    if found.file is not None and not found.file.exists():
        raise FileNotFoundError(
            f"there is no {found.file}; hybrid-fast index --store milvus:{place} makes it"
        )
    parameters = collections.read_parameters(search)
    calls = MilvusCalls(found, token=token, timeout=timeout, retries=retries)
    try:
        return MilvusStore(calls, found.collection, open_whole(calls), parameters)
    except BaseException:
        calls.close()
        raise


def _check_options(index: str, dtype: str, partitions: int) -> None:
    if index != "auto":
        collections.split_index(index)
    check_choice("dtype", dtype, collections.DTYPES)
    if partitions not in range(1, collections.MAX_PARTITIONS + 1):
        raise ValueError(
            f"partitions is {partitions!r}; 1 to {collections.MAX_PARTITIONS} are allowed"
        )


class MilvusStore(Store):
    """See `create` and `open`."""

    def __init__(
        self, calls: MilvusCalls, name: str, described: Described, parameters: Mapping[str, Any]
    ) -> None:
        self.address, self.info = calls.place.address, described.info
        self.index, self.exact = described.index, described.index == "FLAT"
        self._calls, self._name, self._dtype = calls, name, described.dtype
        self._parameters, self._whole = dict(parameters), described.whole
        self._languages = set(described.languages)  # ever added, by whoever
        self._present: set[str] = set()  # of these, those that were seen to have vectors
        self._changed = False

    def add(self, rows: Rows) -> None:
        """See `Store`.

        Raises:
            ValueError: also if an id, a language or a text is longer than 65,535 bytes.
        """
        check_rows(rows, self.info)
        texts = rows.texts if rows.texts is not None else [None] * len(rows.ids)
        sizes = text_sizes(rows.ids, rows.languages, texts)
        vectors = self._prepared(rows.vectors, "vectors")
        self._announce(set(rows.languages))
        self._changed = True
        for start, end in message_ranges(sizes + vectors.itemsize * self.info.dimension):
            data = [
                {"id": each, "language": language, "vector": vector, "text": text}
                for each, language, vector, text in zip(
                    rows.ids[start:end],
                    rows.languages[start:end],
                    vectors[start:end],
                    texts[start:end],
                    strict=True,
                )
            ]
            self._call("upsert", data=data)

    def search(
        self, queries: np.ndarray, k: int, languages: Collection[str] | None = None
    ) -> StoreHits:
        """See `Store`.

        Raises:
            ValueError: also if k is above 16,384.
        """
        check_search(queries, k, languages, self._known(languages), self.info)
        if k > MAX_K:
            raise ValueError(f"k is {k}; Milvus gives at most {MAX_K} hits of a query")
        hits = StoreHits([], [], np.full((len(queries), k), -np.inf, np.float32))
        vectors = self._prepared(queries, "queries")
        chosen = "" if languages is None else f"language in {quoted(sorted(set(languages)))}"
        step = max(1, min(_QUERIES_AT_A_TIME, _HITS_AT_A_TIME // k))
        for start in range(0, len(queries), step):
            answers = self._call(
                "search",
                data=list(vectors[start : start + step]),
                anns_field="vector",
                filter=chosen,
                limit=k,
                output_fields=["language"],
                search_params={"metric_type": collections.METRIC, "params": self._parameters},
            )
            for row, answer in enumerate(answers, start):
                found = sorted(
                    (-hit["distance"], hit["id"], hit["entity"]["language"]) for hit in answer
                )
                hits.ids.append([each for _, each, _ in found])
                hits.languages.append([language for _, _, language in found])
                hits.scores[row, : len(found)] = [-score for score, _, _ in found]
        return hits

    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """See `Store`."""
        found = {
            row["id"]: row["text"]
            for part in id_parts(ids)
            for row in self._query(f"id in {quoted(part)}", ["id", "text"])
        }
        return [found.get(each) for each in ids]

    def delete(self, ids: Sequence[str]) -> int:
        """See `Store`."""
        deleted = 0
        for part in id_parts(ids):
            chosen = f"id in {quoted(part)}"
            deleted += len(self._query(chosen, ["id"]))  # Milvus counts what it was asked for
            self._call("delete", filter=chosen)
        self._present.clear()
        self._changed = self._changed or deleted > 0
        return deleted

    def count(self) -> int:
        """See `Store`."""
        return self._count("")

    def languages(self) -> dict[str, int]:
        """See `Store`; a server counts the vectors of each language."""
        if self._calls.lite:  # which reads whole rows to count some of them
            return dict(
                Counter(row["language"] for row in self._query("", ["language"], limit=_ALL))
            )
        self._refresh()
        counts = {each: self._count(_is(each)) for each in sorted(self._languages)}
        return {each: number for each, number in counts.items() if number}

    def language_codes(self) -> Collection[str]:
        """See `Store`; a language is looked for once, and then taken to stay while this lives."""
        self._refresh()
        unseen = self._languages - self._present
        self._present |= {each for each in unseen if self._query(_is(each), ["id"], limit=1)}
        return frozenset(self._present)

    def size(self) -> int | None:
        """See `Store`."""
        if self._calls.place.file is None:
            return None
        return sum(
            each.stat().st_size for each in self._calls.place.file.rglob("*") if each.is_file()
        )

    def commit(self) -> None:
        """See `Store`."""
        if self._changed and self._calls.place.file is not None:
            self._call("flush")  # a server has it in its log
        if not self._whole:
            self._call("alter_collection_properties", properties=collections.state_property(True))
            self._name = take_place(self._calls, self._name)
        self._whole, self._changed = True, False

    def close(self) -> None:
        """See `Store`."""
        self._calls.close()

    def _call(self, name: str, **kwargs: Any) -> Any:
        return self._calls(name, self._name, **kwargs)

    def _query(self, chosen: str, fields: list[str], **kwargs: Any) -> list[dict[str, Any]]:
        return list(self._call("query", filter=chosen, output_fields=fields, **kwargs))

    def _count(self, chosen: str) -> int:
        return int(self._query(chosen, ["count(*)"])[0]["count(*)"])

    def _prepared(self, vectors: np.ndarray, name: str) -> np.ndarray:
        if self.info.similarity == "cosine":
            vectors = normalize_rows(vectors)
        with np.errstate(over="ignore"):
            prepared = np.ascontiguousarray(vectors, self._dtype)
        check_finite(prepared, f"{name} in {self._dtype}")
        return prepared

    def _announce(self, languages: set[str]) -> None:
        """Say which languages there will be, before there are vectors of them."""
        new = languages - self._languages
        if new:
            self._call(
                "alter_collection_properties", properties=collections.language_properties(new)
            )
            self._languages |= new

    def _known(self, languages: Collection[str] | None) -> Collection[str]:
        """Return languages of the store, among them those asked for if it has them."""
        if languages is None or isinstance(languages, str):
            return ()
        return self._present if set(languages) <= self._present else self.language_codes()

    def _refresh(self) -> None:
        """Learn of languages that other processes have added."""
        described = describe(self._calls, self._name)
        if described is not None:
            self._languages |= described.languages


def _is(language: str) -> str:
    return f"language in {quoted([language])}"
