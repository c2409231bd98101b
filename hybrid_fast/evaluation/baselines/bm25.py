"""BM25, the sparse baseline, through the bm25s library."""

from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.evaluation.baselines.words import load_optional, split_words
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.evaluation.tasks.texts import TextCollection

# Those of Anserini and Pyserini, and so of the published figures on Mr. TyDi and MIRACL.
K1, B = 0.9, 0.4


class LanguageIndex(NamedTuple):
    """The candidates of one language and what queries look up in them.

    Attributes:
        candidates: their rows.
        query_counts: how often a query has a word, (num_queries, num_words).
        weights: what a candidate scores for a word, (num_words, num_candidates).
    """

    candidates: slice
    query_counts: csr_array
    weights: csr_array


class BM25:
    """Scores the candidates of a task by BM25; an instance is the scorer `task.score_by` takes.

    Every language is an index of its own: document frequencies and mean length are those of its
    candidates, as in monolingual search, and the pool of all languages merges these scores as they
    are. The words of a query are looked up in all languages; a candidate that has none scores 0.

    Args:
        task: whose texts are indexed.
        k1: how slowly repeated words saturate, from 0.
        b: how much long candidates are held back, from 0 to 1.

    Raises:
        ImportError: bm25s or icu4py is not installed.
    """

    def __init__(self, task: RetrievalTask, k1: float = K1, b: float = B) -> None:
        bm25s = load_optional("bm25s")
        candidate_words = _split_all(task.candidates, "candidates")
        query_words = _split_all(task.queries, "queries")
        self.settings: dict[str, Any] = {
            "k1": k1,
            "b": b,
            "words": f"ICU, icu4py {version('icu4py')}",
            "bm25": f"lucene, bm25s {version('bm25s')}",
        }
        self.indices: list[LanguageIndex] = []
        for start, stop in pairwise(task.candidates.language_starts.tolist()):
            if not any(candidate_words[start:stop]):
                continue
            index = bm25s.BM25(method="lucene", k1=k1, b=b)
            index.index(candidate_words[start:stop], show_progress=False)
            parts = tuple(index.scores[name] for name in ("data", "indices", "indptr"))
            weights = csc_array(parts, shape=(stop - start, len(parts[2]) - 1)).T
            query_counts = _count_words(query_words, index.vocab_dict, len(weights.indptr) - 1)
            self.indices.append(LanguageIndex(slice(start, stop), query_counts, weights))

    def __call__(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Write the scores of rows of queries into float32 (n, num_candidates)."""
        scores[:] = 0
        for index in self.indices:
            scores[:, index.candidates] = (index.query_counts[rows] @ index.weights).toarray()


def _split_all(texts: TextCollection, name: str) -> list[list[str]]:
    languages = [texts.languages[code] for code in texts.language_codes]
    pairs = zip(texts, languages, strict=True)
    progress = tqdm(
        pairs, total=len(texts), desc=f"words of {name}", delay=2, disable=None, leave=False
    )
    return [split_words(text, language) for text, language in progress]


def _count_words(texts: list[list[str]], vocabulary: dict[str, int], num_words: int) -> csr_array:
    """Return how often each text has each word of a vocabulary, float32 (num_texts, num_words)."""
    known = [[vocabulary[word] for word in words if word in vocabulary] for words in texts]
    rows = np.repeat(np.arange(len(texts)), [len(ids) for ids in known])
    columns = np.array([each for ids in known for each in ids], dtype=np.int64)
    ones = np.ones(len(columns), dtype=np.float32)
    return csr_array((ones, (rows, columns)), shape=(len(texts), num_words))
