"""What negatives are taken from: the passages of the table itself, or those of a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from hybrid_fast.retrieval.mining.answers import Answers, KnownPassages, hash_texts
from hybrid_fast.retrieval.mining.passages import PassageVectors, TablePassages
from hybrid_fast.retrieval.stores import Store, StoreHits
from hybrid_fast.retrieval.text_sources import HitTexts

_TEXTS_AT_A_TIME = 2**15  # of a store, that are held at a time


class Queries(NamedTuple):
    """n queries.

    Attributes:
        texts: of them.
        raw: vectors as the model gave them, float32 (n, D).
        scaled: vectors as they are multiplied, float32 (n, D).
    """

    texts: list[str]
    raw: np.ndarray
    scaled: np.ndarray

    def take(self, places: np.ndarray) -> Queries:
        """Return some of them."""
        texts = [self.texts[place] for place in places]
        return Queries(texts, self.raw[places], self.scaled[places])


class Found(NamedTuple):
    """Candidates of n queries, best first.

    Attributes:
        numbers: int64 (n, k), -1 beyond the last.
        scores: float32 (n, k), minus infinity beyond the last.
    """

    numbers: np.ndarray
    scores: np.ndarray


class Candidates(ABC):
    """Passages by number.

    Attributes:
        codes: hash of the text of each, int64 (m,).
        passages: what each is a copy or translation of, -1 if nothing in the table, int32 (m,).
    """

    codes: np.ndarray
    passages: np.ndarray

    @abstractmethod
    def search(self, queries: Queries, k: int, languages: Collection[str] | None) -> Found:
        """Return the k best candidates of each query, of some languages; None: of all."""

    @abstractmethod
    def texts(self, numbers: np.ndarray) -> list[str]:
        """Return the texts of some, as the table's passages have them."""

    @abstractmethod
    def languages(self, numbers: np.ndarray) -> list[str]:
        """Return the languages of some."""

    def forget(self) -> None:  # noqa: B027
        """Let go of what was found; its numbers may have no meaning any more."""


class TableCandidates(Candidates):
    """The distinct passages of a table; a store proposes, their own vectors give the scores.

    So the scores are exact, and equal in every kind of store that finds the same passages.
    """

    def __init__(
        self, own: TablePassages, answers: Answers, vectors: PassageVectors, store: Store
    ) -> None:
        self.codes, self.passages = answers.codes, answers.passages
        self._own, self._vectors, self._store = own, vectors, store

    def search(self, queries: Queries, k: int, languages: Collection[str] | None) -> Found:
        """Return the k best candidates of each query, equal scores by number."""
        hits = self._store.search(queries.raw, k, languages)
        numbers = _matrix(list(map(int, chain.from_iterable(hits.ids))), hits)
        places, columns = np.nonzero(numbers >= 0)
        scores = np.full(numbers.shape, -np.inf, np.float32)
        scores[places, columns] = self._vectors.score(
            queries.scaled, places, numbers[places, columns]
        )
        order = np.lexsort((numbers, -scores))
        return Found(*(np.take_along_axis(each, order, axis=1) for each in (numbers, scores)))

    def texts(self, numbers: np.ndarray) -> list[str]:
        """Return the texts of some."""
        return self._own.texts(numbers)

    def languages(self, numbers: np.ndarray) -> list[str]:
        """Return the languages of some."""
        return self._own.languages_of(numbers)


class StoreCandidates(Candidates):
    """The passages of a store, numbered as they are found; scores are those of the store.

    What answers a question is known by its text, or by an id that the table gives to a passage.
    """

    def __init__(self, store: Store, texts: HitTexts, known: KnownPassages) -> None:
        self._store, self._source, self._known = store, texts, known
        self.forget()

    def forget(self) -> None:
        """Let go of all numbers."""
        self._numbers: dict[str, int] = {}
        self._ids: list[str] = []
        self._languages: list[str] = []
        self.codes, self.passages = np.empty(0, np.int64), np.empty(0, np.int32)

    def search(self, queries: Queries, k: int, languages: Collection[str] | None) -> Found:
        """Return the k best candidates of each query, in the order of the store.

        Raises:
            ValueError: one has no text.
        """
        hits = self._store.search(queries.raw, k, languages)
        found = dict(
            zip(
                chain.from_iterable(hits.ids), chain.from_iterable(hits.languages), strict=True
            )
        )  # fmt: skip
        self._add({each: found[each] for each in found if each not in self._numbers})
        numbers = [self._numbers[each] for each in chain.from_iterable(hits.ids)]
        return Found(_matrix(numbers, hits), hits.scores)

    def _add(self, new: dict[str, str]) -> None:
        """Give numbers to passages, by id and language."""
        if not new:
            return
        ids = list(new)
        self._numbers |= {each: number for number, each in enumerate(ids, len(self._ids))}
        self._ids += ids
        self._languages += new.values()
        parts = [
            self._identify(ids[start : start + _TEXTS_AT_A_TIME])
            for start in range(0, len(ids), _TEXTS_AT_A_TIME)
        ]
        codes, passages = (np.concatenate(each) for each in zip(*parts, strict=True))
        self.codes = np.concatenate([self.codes, codes])
        self.passages = np.concatenate([self.passages, passages])

    def _identify(self, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the hash of each text, and what it is a copy of; the texts are not kept."""
        codes = hash_texts(pa.array(self._texts_of(ids), pa.large_string()))
        return codes, self._known.find(pa.array(ids, pa.string()), codes)

    def _texts_of(self, ids: list[str]) -> list[str]:
        texts = self._source.needed([ids], "mining")
        return [texts[each] for each in ids]

    def texts(self, numbers: np.ndarray) -> list[str]:
        """Return the texts of some."""
        return self._texts_of([self._ids[number] for number in numbers])

    def languages(self, numbers: np.ndarray) -> list[str]:
        """Return the languages of some."""
        return [self._languages[number] for number in numbers]


def _matrix(numbers: Sequence[int], hits: StoreHits) -> np.ndarray:
    """Return the numbers of all hits, one after the other, as rows of a matrix filled with -1."""
    lengths = np.array([len(ids) for ids in hits.ids], np.int64)
    matrix = np.full(hits.scores.shape, -1, np.int64)
    matrix[np.arange(hits.scores.shape[1]) < lengths[:, None]] = numbers
    return matrix
