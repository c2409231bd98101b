"""A store in memory: what the interface asks for, in few lines; the truth of other stores."""

from __future__ import annotations

import numpy as np

from hybrid_fast.retrieval import search
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.stores import Rows, Store, StoreHits
from hybrid_fast.retrieval.stores.checks import check_rows, check_search


class MemoryStore(Store):
    exact = True

    def __init__(self, info, address="memory:"):
        self.info, self.address = info, address
        self.rows: dict[str, tuple[str, np.ndarray, str | None]] = {}

    def add(self, rows: Rows) -> None:
        check_rows(rows, self.info)
        texts = rows.texts or [None] * len(rows.ids)
        for each, language, vector, text in zip(
            rows.ids, rows.languages, rows.vectors, texts, strict=True
        ):
            self.rows.pop(each, None)
            self.rows[each] = language, vector, text

    def search(self, queries, k, languages=None) -> StoreHits:
        check_search(queries, k, languages, self.languages(), self.info)
        kept = [i for i, row in self.rows.items() if languages is None or row[0] in languages]
        if not kept:
            return StoreHits(
                [[] for _ in queries],
                [[] for _ in queries],
                np.full((len(queries), k), -np.inf, np.float32),
            )
        vectors = np.stack([self.rows[each][1] for each in kept])
        if self.info.similarity == "cosine":
            queries, vectors = normalize_rows(queries), normalize_rows(vectors)
        found = search(queries, vectors, k)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        scores[:, : found.scores.shape[1]] = found.scores
        ids = [[kept[row] for row in rows] for rows in found.rows]
        return StoreHits(ids, [[self.rows[each][0] for each in some] for some in ids], scores)

    def texts(self, ids):
        return [self.rows[each][2] if each in self.rows else None for each in ids]

    def delete(self, ids) -> int:
        return sum(self.rows.pop(each, None) is not None for each in set(ids))

    def count(self) -> int:
        return len(self.rows)

    def languages(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for language, _, _ in self.rows.values():
            found[language] = found.get(language, 0) + 1
        return found

    def commit(self) -> None:
        pass

    def close(self) -> None:
        pass
