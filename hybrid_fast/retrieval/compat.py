"""The internals of bm25s that are read."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain

from scipy.sparse import csc_array, csr_array

from hybrid_fast.common.optional import load_optional

KNOWN_BM25S = "0.3"


def bm25_weights(
    words: Sequence[Sequence[str]], k1: float, b: float
) -> tuple[dict[str, int], csr_array]:
    """Index texts with bm25s, and return its vocabulary and weights.

    Its public methods score one query at a time; the attributes `vocab_dict` and `scores` hold the
    whole matrix.

    Args:
        words: the words of each text; at least one text has one.
        k1: see `BM25`.
        b: see `BM25`.

    Returns:
        The row of each word, in the order in which they occur first, and what a text scores for a
        word, float32 (num_words, num_texts).

    Raises:
        ImportError: bm25s is not installed, or of a version that stores its index differently.
    """
    index = load_optional("bm25s", "BM25", "baselines").BM25(method="lucene", k1=k1, b=b)
    # Its own vocabulary has the order of a set of strings, another in each process, and so would
    # the sums of a query's words have: scores would differ in the last bit.
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys(chain(*words)))}
    numbers = [[vocabulary[word] for word in text] for text in words]
    index.index((numbers, vocabulary), show_progress=False)
    try:
        parts = tuple(index.scores[name] for name in ("data", "indices", "indptr"))
        return index.vocab_dict, csc_array(parts, shape=(len(words), len(parts[2]) - 1)).T
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImportError(
            f"bm25s {version('bm25s')} stores its index in an unknown form "
            f"({type(error).__name__}: {error}); version {KNOWN_BM25S} is supported: "
            f"pip install 'bm25s=={KNOWN_BM25S}.*'"
        ) from error
