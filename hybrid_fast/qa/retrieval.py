"""The passages that a retriever finds for each question, for the reader to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybrid_fast.evaluation import encoding
from hybrid_fast.evaluation.search import search
from hybrid_fast.qa.questions import ReadingData


def retrieve(
    retriever: object, data: ReadingData, k: int, batch_size: int | None = None
) -> np.ndarray:
    """Return the rows of the k best passages for each question, of the pool of all languages.

    Args:
        retriever: anything that `RetrievalTask.evaluate` takes.
        data: questions and pool.
        k: at most the size of the pool.
        batch_size: texts that the retriever takes at a time.

    Returns:
        int64 (num_questions, k), best first; equal scores in the order of the passages.

    Raises:
        TypeError: the retriever cannot encode texts.
        ValueError: it returns embeddings of a wrong shape, NaN or infinity.
    """
    encoders = encoding.find_encoders(retriever)
    embeddings = []
    for encoder, texts, languages, name in (
        (
            encoders[0],
            [question.text for question in data.questions],
            [question.lang for question in data.questions],
            "queries",
        ),
        (
            encoders[1],
            [passage.text for passage in data.passages],
            [passage.lang for passage in data.passages],
            "passages",
        ),
    ):
        vectors = encoding.encode(encoder, texts, batch_size, name)
        names, codes = np.unique(languages, return_inverse=True)
        encoding.check_finite(vectors, names.tolist(), codes, name)
        embeddings.append(vectors)
    if encoding.similarity_of(retriever) == "cosine":
        embeddings = [encoding.normalize_rows(vectors) for vectors in embeddings]
    queries, passages = embeddings
    return search(queries, passages, k).rows


def check_top_k(top_k: Sequence[int], num_passages: int) -> list[int]:
    """Return the wanted numbers of passages in order, each once.

    Raises:
        ValueError: there is none, or one below 1 or above the size of the pool.
    """
    if not top_k or min(top_k) < 1 or max(top_k) > num_passages:
        raise ValueError(
            f"top_k is {', '.join(map(str, top_k)) or 'empty'}; whole numbers from 1 to "
            f"{num_passages}, the size of the pool, are needed"
        )
    return sorted(set(top_k))
