"""Search of texts by BM25, in memory, as the sparse side of a `Retriever`.

As in `BM25` every language is an index of its own, and the hits of all are merged by their scores
unchanged. A query may be in any language: for each index its words are found as those of the texts
are.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.retrieval.bm25 import K1, B, WordWeights, bm25_settings, split_words
from hybrid_fast.retrieval.scores import TILE_BYTES
from hybrid_fast.retrieval.stores.store import StoreHits

# A score and a column of the product of queries and texts, which has one for most texts where a
# query has a frequent word.
_BYTES_PER_SCORE = 12


class _Scored(NamedTuple):
    """Texts that a query found: their numbers, int64 (n,), and their scores, float32 (n,)."""

    numbers: np.ndarray
    scores: np.ndarray


@dataclass
class _Language:
    """The texts of a language.

    Attributes:
        words: of each text, by its number, ascending.
        index: of these texts, and their numbers, int64 (num_texts,); None until it is needed.
    """

    words: dict[int, tuple[str, ...]] = field(default_factory=dict)
    index: tuple[WordWeights, np.ndarray] | None = None

    def indexed(self, k1: float, b: float) -> tuple[WordWeights, np.ndarray]:
        """Return the index, which is made if there is none."""
        if self.index is None:
            numbers = np.fromiter(self.words, np.int64, len(self.words))
            self.index = WordWeights.of(list(self.words.values()), k1, b), numbers
        return self.index


class BM25Index:
    """Texts by id, and search for those of which BM25 scores highest for queries.

    All words of all texts are held: 8 bytes a word, and about as many again for its weight.

    Args:
        texts: id, language and text of each; a later one takes the place of one with the same id.
        k1: saturation: the higher, the more a repeated word counts; from 0.
        b: length normalisation, from 0 (none) to 1 (full).

    Raises:
        ImportError: bm25s or icu4py is not installed.
        ValueError: there are no texts, or one has no id.
    """

    def __init__(
        self, texts: Iterable[CorpusText | tuple[str, str, str]], k1: float = K1, b: float = B
    ) -> None:
        self.k1, self.b = k1, b
        self.settings = bm25_settings(k1, b)
        self._ids: list[str] = []  # by number; texts are numbered as they come
        self._numbers: dict[str, int] = {}
        self._languages: dict[str, _Language] = {}
        self._language_of: dict[str, str] = {}
        progress = tqdm(texts, desc="words of texts", delay=2, disable=None, leave=False)
        self.add(CorpusText(*each) for each in progress)
        if not self._numbers:
            raise ValueError("there are no texts to index; give at least one")

    def __len__(self) -> int:
        return len(self._numbers)

    def languages(self) -> dict[str, int]:
        """Return the number of texts of each language."""
        return {code: len(each.words) for code, each in self._languages.items()}

    def add(self, texts: Iterable[CorpusText]) -> None:
        """Add texts, or put them in the place of those with their ids.

        The next search indexes the languages concerned again, since document frequencies and the
        mean length change.

        Raises:
            ValueError: a text has no id, or is no valid Unicode.
        """
        for each, code, text in texts:
            if not each:
                raise ValueError(f"the text {text[:60]!r} has an empty id; give it one")
            words = tuple(map(sys.intern, split_words(text, code)))
            self.delete([each])
            language = self._languages.setdefault(code, _Language())
            self._numbers[each], self._language_of[each] = len(self._ids), code
            language.words[len(self._ids)] = words
            language.index = None
            self._ids.append(each)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete texts; return how many there were of these ids."""
        num_before = len(self)
        for each in ids:
            number = self._numbers.pop(each, None)
            if number is None:
                continue
            code = self._language_of.pop(each)
            language = self._languages[code]
            del language.words[number]
            language.index = None
            if not language.words:
                del self._languages[code]
        return num_before - len(self)

    def search(
        self, queries: Sequence[str], k: int, languages: Collection[str] | None = None
    ) -> StoreHits:
        """Find the k texts that score highest for each query; equal scores as they were added.

        Texts with none of the words of a query are not among its hits.

        Args:
            queries: n texts.
            k: hits of each query; fewer where there are no more.
            languages: of the hits; default all.

        Raises:
            ValueError: k is below 1, or there is no text of a language; the message names those
                there are.
        """
        if k < 1:
            raise ValueError(f"k is {k}; it must be at least 1")
        found: list[list[_Scored]] = [[] for _ in queries]
        for code in self._check(languages):
            for some, each in zip(found, self._search_language(code, queries, k), strict=True):
                some.append(each)
        return self._as_hits([_merge(some, k) for some in found], k)

    def _check(self, languages: Collection[str] | None) -> list[str]:
        unknown = sorted(set(languages or ()) - self._languages.keys())
        if unknown:
            raise ValueError(
                f"BM25 has no text in {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(sorted(self._languages)) or 'none'}"
            )
        return [code for code in self._languages if languages is None or code in languages]

    def _search_language(self, code: str, queries: Sequence[str], k: int) -> list[_Scored]:
        language = self._languages[code]
        if not any(language.words.values()):
            return [_Scored(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        index, numbers = language.indexed(self.k1, self.b)
        counts = index.count_words([split_words(each, code) for each in queries])
        step = max(1, TILE_BYTES // (_BYTES_PER_SCORE * len(numbers)))
        found = []
        for start in range(0, len(queries), step):
            scores = counts[start : start + step] @ index.weights
            for first, end in zip(scores.indptr, scores.indptr[1:], strict=False):
                row = _Scored(numbers[scores.indices[first:end]], scores.data[first:end])
                found.append(_first(row, k))
        return found

    def _as_hits(self, found: Sequence[_Scored], k: int) -> StoreHits:
        ids = [[self._ids[number] for number in each.numbers] for each in found]
        scores = np.full((len(found), k), -np.inf, np.float32)
        for row, each in zip(scores, found, strict=True):
            row[: len(each.scores)] = each.scores
        return StoreHits(ids, [[self._language_of[each] for each in some] for some in ids], scores)


def _first(scored: _Scored, k: int) -> _Scored:
    """Return the k highest scores, best first, equal ones by number."""
    numbers, scores = scored
    if len(scores) > k:  # those of the lowest of these scores, of which some may go
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        numbers, scores = numbers[kept], scores[kept]
    order = np.lexsort((numbers, -scores))[:k]
    return _Scored(numbers[order], scores[order])


def _merge(found: Sequence[_Scored], k: int) -> _Scored:
    if not found:
        return _Scored(np.empty(0, np.int64), np.empty(0, np.float32))
    return _first(_Scored(*map(np.concatenate, zip(*found, strict=True))), k)
