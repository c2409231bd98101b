"""The passages that a retriever finds for each question, for the reader to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybrid_fast.qa.questions import ReadingData
from hybrid_fast.retrieval.embeddings import check_finite
from hybrid_fast.retrieval.encoding import encode_both
from hybrid_fast.retrieval.exact_search import search


def retrieve(
    retriever: object, data: ReadingData, k: int, batch_size: int | None = None
) -> np.ndarray:
    """Return the rows of the k best passages for each question, from the pool of all languages.

    Args:
        retriever: any model that `RetrievalTask.evaluate` accepts.
        data: questions and pool.
        k: at most the size of the pool.
        batch_size: texts the retriever takes at a time; default its own.

    Returns:
        int64 (num_questions, k), best first; equal scores in the order of the passages.

    Raises:
        TypeError: the retriever cannot encode texts.
        ValueError: it returns embeddings of a wrong shape, NaN or infinity.
    """
    queries, passages, _ = encode_both(
        retriever,
        [question.text for question in data.questions],
        [passage.text for passage in data.passages],
        batch_size,
    )
    languages = ([each.lang for each in some] for some in (data.questions, data.passages))
    for matrix, of_rows, name in zip(
        (queries, passages), languages, ("queries", "passages"), strict=True
    ):
        names, codes = np.unique(of_rows, return_inverse=True)
        check_finite(matrix, names.tolist(), codes, name)
    return search(queries, passages, k).rows


def check_top_k(top_k: Sequence[int], num_passages: int) -> list[int]:
    """Return the numbers of passages to read, ascending, each once.

    Raises:
        ValueError: there is none, or one is below 1 or above the size of the pool.
    """
    if not top_k or min(top_k) < 1 or max(top_k) > num_passages:
        raise ValueError(
            f"top_k is {', '.join(map(str, top_k)) or 'empty'}; whole numbers from 1 to "
            f"{num_passages}, the size of the pool, are needed"
        )
    return sorted(set(top_k))
