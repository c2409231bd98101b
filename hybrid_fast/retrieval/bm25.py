"""BM25, the sparse baseline, through the bm25s library, over words as ICU divides them.

ICU follows Unicode's word boundaries (UAX 29), and dictionaries where words are not separated: in
Thai, Lao, Khmer, Burmese, Chinese and Japanese. There is no stemming and no list of stop words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.common.optional import load_optional
from hybrid_fast.common.texts import check_unicode
from hybrid_fast.data.languages import normalize_if_known
from hybrid_fast.retrieval.case_folding import fold_case
from hybrid_fast.retrieval.compat import bm25_weights
from hybrid_fast.retrieval.texts import TextCollection

# Those of Anserini and Pyserini, and so of the published scores on Mr. TyDi and MIRACL.
K1, B = 0.9, 0.4


class WordWeights(NamedTuple):
    """The index of the texts of one language.

    Attributes:
        vocabulary: the row of each word.
        weights: what a text scores for a word, float32 (num_words, num_texts).
    """

    vocabulary: dict[str, int]
    weights: csr_array

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]], k1: float = K1, b: float = B) -> WordWeights:
        """Index texts, given by their words; at least one must have a word.

        Raises:
            ImportError: bm25s is not installed.
        """
        return cls(*bm25_weights(texts, k1, b))

    def count_words(self, texts: Sequence[Sequence[str]]) -> csr_array:
        """Return how often each text has each word, float32 (num_texts, num_words)."""
        known = [
            [self.vocabulary[word] for word in words if word in self.vocabulary] for words in texts
        ]
        rows = np.repeat(np.arange(len(texts)), [len(numbers) for numbers in known])
        columns = np.array([each for numbers in known for each in numbers], dtype=np.int64)
        ones = np.ones(len(columns), dtype=np.float32)
        return csr_array((ones, (rows, columns)), shape=(len(texts), self.weights.shape[0]))


class _LanguageIndex(NamedTuple):
    """The rows of the candidates of a language, and how often each query has each of its words."""

    candidates: slice
    query_counts: csr_array
    weights: csr_array


class BM25:
    """Scores candidates by BM25; an instance is a `ScoreRows`, which `task.score_by` takes.

    Every language is an index of its own: document frequencies and mean length are those of its
    candidates, as in monolingual search, and the pool of all languages merges these scores
    unchanged. The words of a query are looked up in all languages; a candidate without any of them
    scores 0.

    Args:
        queries: queries to look up.
        candidates: texts to index.
        k1: saturation: the higher, the more a repeated word counts; from 0.
        b: length normalisation, from 0 (none) to 1 (full).

    Raises:
        ImportError: bm25s or icu4py is not installed.
    """

    def __init__(
        self, queries: TextCollection, candidates: TextCollection, k1: float = K1, b: float = B
    ) -> None:
        load_optional("bm25s", "BM25", "baselines")
        candidate_words = _split_all(candidates, "candidates")
        query_words = _split_all(queries, "queries")
        self.settings = bm25_settings(k1, b)
        self.indices: list[_LanguageIndex] = []
        for start, stop in pairwise(candidates.language_starts.tolist()):
            if any(candidate_words[start:stop]):
                index = WordWeights.of(candidate_words[start:stop], k1, b)
                counts = index.count_words(query_words)
                self.indices.append(_LanguageIndex(slice(start, stop), counts, index.weights))

    def __call__(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Write the scores of rows of queries into float32 (n, num_candidates)."""
        scores[:] = 0
        for index in self.indices:
            scores[:, index.candidates] = (index.query_counts[rows] @ index.weights).toarray()


def bm25_settings(k1: float, b: float) -> dict[str, Any]:
    """Return how texts are scored, for results."""
    return {
        "k1": k1,
        "b": b,
        "words": f"ICU, icu4py {version('icu4py')}",
        "bm25": f"lucene, bm25s {version('bm25s')}",
    }


def split_words(text: str, language: str) -> list[str]:
    """Return the words of a text in order, in NFKC and with case folded as the language does.

    Args:
        text: any text.
        language: its code; if it is unknown, the general rules apply.

    Raises:
        ImportError: icu4py is not installed.
        ValueError: the text is no valid Unicode.
    """
    breakers = load_optional("icu4py.breakers", "BM25", "baselines")
    check_unicode(text, f"the text {text[:60]!r}")
    folded = fold_case(unicodedata.normalize("NFKC", text), language)
    segments = breakers.WordBreaker(folded, normalize_if_known(language))
    return [segment for segment in segments if any(map(str.isalnum, segment))]


def _split_all(texts: TextCollection, name: str) -> list[list[str]]:
    languages = [texts.languages[code] for code in texts.language_codes]
    pairs = zip(texts, languages, strict=True)
    progress = tqdm(
        pairs, total=len(texts), desc=f"words of {name}", delay=2, disable=None, leave=False
    )
    return [split_words(text, language) for text, language in progress]
