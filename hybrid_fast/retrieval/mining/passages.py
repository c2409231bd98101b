"""The distinct passages of a table: as a corpus to encode, and their vectors on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from hybrid_fast.common.disk import writing
from hybrid_fast.data import AlignedTable
from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.mining.answers import Answers
from hybrid_fast.retrieval.stores import Rows
from hybrid_fast.retrieval.vector_info import VectorInfo

_TEXTS_AT_A_TIME = 4096
_PAIRS_AT_A_TIME = 4096  # whose vectors are held at a time


class TablePassages:
    """The distinct passages of a table, each after its title; ids are their numbers.

    Attributes:
        name: for messages and manifests.
    """

    def __init__(self, table: AlignedTable, answers: Answers) -> None:
        self.name = f"the passages of {', '.join(table.sources)}"
        self._table = table
        self._rows = answers.first_rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[CorpusText]:
        languages, codes = self._table.languages, self._table.language_codes
        for start in range(0, len(self), _TEXTS_AT_A_TIME):
            rows = self._rows[start : start + _TEXTS_AT_A_TIME]
            texts = self._table.passages(rows)
            for number, (row, text) in enumerate(zip(rows, texts, strict=True), start):
                yield CorpusText(str(number), languages[codes[row]], text)

    def languages(self) -> dict[str, int]:
        """Return the number of them in each language that has any."""
        names = self._table.languages
        counts = np.bincount(self._table.language_codes[self._rows], minlength=len(names))
        return {name: int(n) for name, n in zip(names, counts, strict=True) if n}

    def languages_of(self, numbers: np.ndarray) -> list[str]:
        """Return the languages of some of them."""
        names = self._table.languages
        return [names[code] for code in self._table.language_codes[self._rows[numbers]]]

    def texts(self, numbers: np.ndarray) -> list[str]:
        """Return the texts of some of them."""
        return self._table.passages(self._rows[numbers])


class PassageVectors:
    """Vectors by number, in a file that is mapped, and their products with queries."""

    def __init__(self, num_passages: int, info: VectorInfo, path: Path) -> None:
        """Make zeros.

        Args:
            num_passages: of the table.
            info: of their vectors; those of similarity "cosine" get norm 1.
            path: a new file.
        """
        self._normalizes = info.similarity == "cosine"
        self._vectors = _new_file(path, (num_passages, info.dimension))

    def read(self, encoded: Iterable[Rows]) -> None:
        """Take encoded passages, in the order of their numbers."""
        start = 0
        for rows in encoded:
            part = rows.vectors
            stop = start + len(part)
            self._vectors[start:stop] = normalize_rows(part) if self._normalizes else part
            start = stop

    def score(self, queries: np.ndarray, places: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the score of each pair of a query and a passage, float32 (p,).

        That of a pair does not depend on the others.

        Args:
            queries: float32 (n, D), of norm 1 where the similarity is cosine.
            places: of the queries, (p,).
            numbers: of the passages, (p,).
        """
        scores = np.empty(len(places), np.float32)
        for start in range(0, len(places), _PAIRS_AT_A_TIME):
            part = slice(start, start + _PAIRS_AT_A_TIME)
            scores[part] = np.einsum(
                "pd,pd->p", queries[places[part]], self._vectors[numbers[part]]
            )
        return scores


def _new_file(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return zeros, float32, in a file that is mapped."""
    if not shape[0]:
        return np.zeros(shape, np.float32)  # an empty file cannot be mapped
    with writing(path), path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * shape[0] * shape[1])  # a full disk shows here
    return np.memmap(path, np.float32, "r+", shape=shape)
