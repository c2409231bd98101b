"""Queries and candidates of a task, stored by language, and the choice of languages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_fast.retrieval.texts import TextCollection, store_texts


class Query(NamedTuple):
    """A question; translations of one another share the id."""

    id: str
    lang: str
    text: str


class Candidate(NamedTuple):
    """A text to be found, and the ids of the queries, in any language, that it answers."""

    id: str
    lang: str
    text: str
    query_ids: tuple[str, ...] = ()


def store_by_language(
    task: str, queries: Iterable[Query], candidates: Iterable[tuple[str, str, str]]
) -> tuple[TextCollection, TextCollection]:
    """Store queries and candidates, sorted by language; the languages of both are numbered alike.

    Args:
        task: name of the task, for errors.
        queries: iterated over once.
        candidates: id, language and text of each; iterated over once.

    Raises:
        ValueError: if there are no queries or no candidates, or a language is called "all".
    """
    stored_queries, stored_candidates = store_texts(queries), store_texts(candidates)
    if not stored_queries.num_rows or not stored_candidates.num_rows:
        raise ValueError(
            f"task {task!r} has {stored_queries.num_rows} queries and "
            f"{stored_candidates.num_rows} candidates; at least one of each is needed"
        )
    codes = {*stored_queries["lang"].unique().to_pylist()}
    codes |= {*stored_candidates["lang"].unique().to_pylist()}
    if "all" in codes:
        raise ValueError(f"task {task!r}: 'all' is no language, it names the union pool")
    languages = tuple(sorted(codes))
    return TextCollection(stored_queries, languages), TextCollection(stored_candidates, languages)


def number_ids(ids: Sequence[str]) -> np.ndarray:
    """Return a number for each id, equal for equal ids, int64 (n,)."""
    numbers = {each: number for number, each in enumerate(dict.fromkeys(ids))}
    return np.array([numbers[each] for each in ids], dtype=np.int64)


def check_languages(
    languages: Sequence[str] | None, known: Iterable[str], task: str
) -> tuple[str, ...]:
    """Return the languages of a task to load, each once: those given, all if None.

    Raises:
        TypeError: if `languages` is a string.
        ValueError: if a language is not known, or the list is empty.
    """
    known = tuple(known)
    if isinstance(languages, str):
        raise TypeError(f"languages is the text {languages!r}; give a list of codes")
    if languages is None:
        return known
    unknown = sorted(set(languages) - set(known))
    if unknown or not languages:
        found = f"has no {', '.join(unknown)}" if unknown else "needs at least one language"
        raise ValueError(f"task {task!r} {found}; its languages are {', '.join(known)}")
    return tuple(dict.fromkeys(languages))
