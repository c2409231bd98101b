"""Checks of what is added to a store and asked of it, the same for every kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from hybrid_fast.common.choices import nearest
from hybrid_fast.retrieval.embeddings import check_finite, squared_norms
from hybrid_fast.retrieval.stores.store import Rows
from hybrid_fast.retrieval.vector_info import VectorInfo

_SHOWN = 20  # languages in a message


def check_rows(rows: Rows, info: VectorInfo) -> None:
    """Check rows that are to be added.

    Raises:
        ValueError: an id is empty or given twice, columns have different lengths, a text is no
            Unicode, or vectors have a wrong dtype, shape, NaN or infinity.
    """
    ids, languages, vectors, texts = rows
    check_ids(ids)
    for name, column in (("languages", languages), ("texts", texts)):
        if column is not None and len(column) != len(ids):
            raise ValueError(f"{len(ids)} ids came with {len(column)} {name}; give one for each")
    if not all(languages):
        raise ValueError(f"the language of {ids[list(languages).index('')]!r} is empty; name it")
    for name, column in (("id", ids), ("language", languages), ("text", texts or ())):
        _check_unicode(name, column)
    _check_dtype(vectors, "vectors")
    if vectors.shape != (len(ids), info.dimension):
        raise ValueError(
            f"vectors have shape {vectors.shape}; ({len(ids)}, {info.dimension}) is needed for "
            f"{len(ids)} ids and the {info.dimension} dimensions of {info.model!r}"
        )
    _check_norms(vectors, "vectors")


def check_ids(ids: Sequence[str]) -> None:
    """Check that ids are different texts and none is empty.

    Raises:
        ValueError: one is not.
    """
    for number, each in enumerate(ids):
        if not isinstance(each, str) or not each:
            raise ValueError(f"id {number} is {each!r}, empty or no text; every row needs one")
    if len(set(ids)) < len(ids):
        (twice, times), *_ = Counter(ids).most_common(1)
        raise ValueError(f"id {twice!r} is given {times} times; ids must be different")


def check_search(
    queries: np.ndarray,
    k: int,
    languages: Collection[str] | None,
    known: Collection[str],
    info: VectorInfo,
) -> None:
    """Check what is asked of a store.

    Args:
        queries: float32 (n, D).
        k: hits of each query.
        languages: of the hits; None for all.
        known: languages that the store has.
        info: whose vectors it keeps.

    Raises:
        ValueError: k is below 1, queries have a wrong dtype, shape, NaN or infinity, or the store
            has no vector of a language.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    _check_dtype(queries, "queries")
    if queries.ndim != 2 or queries.shape[1] != info.dimension:
        raise ValueError(
            f"queries have shape {queries.shape}; (n, {info.dimension}) is needed, the "
            f"{info.dimension} dimensions of {info.model!r}"
        )
    _check_norms(queries, "queries")
    if languages is not None:
        _check_languages(languages, known)


def check_tuning(queries: np.ndarray, info: VectorInfo) -> None:
    """Check queries that searches are to be tuned to.

    Args:
        queries: float32 (n, D).
        info: whose vectors the store keeps.

    Raises:
        ValueError: they have a wrong dtype, shape, NaN or infinity, or there are none.
    """
    check_search(queries, 1, None, (), info)
    if not len(queries):
        raise ValueError("there are no queries to tune to; give some")


def _check_unicode(name: str, column: Iterable[str | None]) -> None:
    """Check that all texts of a column can be written as UTF-8."""
    for each in column:
        try:
            (each or "").encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{name} {each!r:.80} has half of a surrogate pair at {error.start}, which is no "
                "character; correct the texts, or read them with errors='replace'"
            ) from error


def _check_dtype(vectors: np.ndarray, name: str) -> None:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        given = getattr(vectors, "dtype", type(vectors).__name__)
        raise ValueError(f"{name} are {given}; give an array of float32, as models encode to")


def _check_norms(vectors: np.ndarray, name: str) -> None:
    """Check that vectors are finite, and that no score of two of them is beyond float32."""
    check_finite(vectors, name)
    longest = float(squared_norms(vectors).max(initial=0))
    if longest > float(np.finfo(np.float32).max) / 2:
        raise ValueError(
            f"{name} have norms up to {longest**0.5:.3g}, and scores could be beyond float32; "
            "normalise them to norm 1"
        )


def _check_languages(languages: Collection[str], known: Collection[str]) -> None:
    if isinstance(languages, str) or not languages:
        raise ValueError(
            f"languages is {languages!r}; give a list of codes such as ['de', 'en'], or None for "
            "all languages"
        )
    unknown = sorted(set(languages) - set(known))
    if unknown:
        shown = ", ".join(sorted(known)[:_SHOWN]) or "none yet"
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        raise ValueError(
            f"the store has no vectors in {', '.join(map(repr, unknown))}; it has {shown}{more}"
            f"{nearest(unknown[0], known)}"
        )
