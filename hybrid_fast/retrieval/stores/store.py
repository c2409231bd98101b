"""What every store of vectors can do.

A store is made of vectors of one model (`VectorInfo`), which it keeps and by which it refuses those
of another. What is added or deleted can be searched at once; it stays after `commit`. A store that
was never committed is not whole, and is refused when it is opened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from hybrid_fast.retrieval.vector_info import VectorInfo


class Rows(NamedTuple):
    """Vectors to add, and what belongs to each.

    Attributes:
        ids: n ids, all different.
        languages: n language codes.
        vectors: float32 (n, D), as the model gave them.
        texts: n texts, or None to keep none.
    """

    ids: Sequence[str]
    languages: Sequence[str]
    vectors: np.ndarray
    texts: Sequence[str] | None = None


class UnfinishedStoreError(ValueError):
    """A store was begun and never committed; `create_store` begins anew in its place."""


class StoreHits(NamedTuple):
    """What a search found for n queries, best first.

    Attributes:
        ids: of the hits of each query, at most k.
        languages: of each hit.
        scores: similarities, float32 (n, k); minus infinity beyond the last hit of a query.
    """

    ids: list[list[str]]
    languages: list[list[str]]
    scores: np.ndarray


class Store(ABC):
    """Vectors by id, and search for those most similar to queries.

    Attributes:
        address: what `open_store` opens it by.
        info: whose vectors it keeps.
        index: what it searches by, for people.
        exact: whether a search compares all vectors.
    """

    address: str
    info: VectorInfo
    index: str = ""
    exact: bool = False

    @abstractmethod
    def add(self, rows: Rows) -> None:
        """Add vectors; those whose id it has already take their place.

        Raises:
            ValueError: an id is empty or given twice, columns have different lengths, or vectors
                have a wrong shape, NaN or infinity.
        """

    @abstractmethod
    def search(
        self, queries: np.ndarray, k: int, languages: Collection[str] | None = None
    ) -> StoreHits:
        """Find the k vectors most similar to each query.

        An exact store orders equal scores by the time they were added.

        Args:
            queries: float32 (n, D), as the model gave them.
            k: hits of each query; fewer where there are no more.
            languages: of the hits; default all.

        Raises:
            ValueError: k is below 1, queries have a wrong shape, NaN or infinity, or the store has
                no vector of a language; the message names those it has.
        """

    def tune(self, queries: np.ndarray) -> None:  # noqa: B027 - most have nothing to choose
        """Choose the effort of searches for queries such as these, from now on.

        The choice, and the queries for later ones, stay after `commit`. A store that has nothing to
        choose, or whose server chooses, does nothing.

        Args:
            queries: float32 (n, D), as the model gave them.

        Raises:
            ValueError: they have a wrong dtype or shape, NaN or infinity, or there are none.
        """

    def search_exactly(self, queries: np.ndarray, k: int) -> StoreHits | None:
        """Search by comparing all vectors; None if the store cannot."""
        return self.search(queries, k) if self.exact else None

    @abstractmethod
    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """Return the texts of ids; None where the store keeps none."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> int:
        """Delete vectors; return how many there were of these ids."""

    @abstractmethod
    def count(self) -> int:
        """Return how many vectors it has."""

    @abstractmethod
    def languages(self) -> dict[str, int]:
        """Return the number of vectors of each language."""

    def language_codes(self) -> Collection[str]:
        """Return the languages of which it has vectors, sooner than by counting if it can."""
        return self.languages()

    def size(self) -> int | None:
        """Return its bytes on the disk; None if they are elsewhere, or not known."""
        return None

    @abstractmethod
    def commit(self) -> None:
        """Keep what was added and deleted, for whoever opens the store from now on."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; what was not committed may be lost."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit unless there was an error, and close."""
        try:
            if kind is None:
                self.commit()
        finally:
            self.close()
