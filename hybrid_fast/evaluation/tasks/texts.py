"""Queries and candidates of a task, and the order in which their embeddings are expected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np


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


class TextCollection(Sequence[str]):
    """Texts in the order in which embeddings of them are expected: language by language.

    Attributes:
        texts: the texts; the collection itself is a sequence of them too.
        ids: id of each text.
        languages: the task's language codes, sorted.
        language_codes: int32 (n,), position in `languages` of each text.
    """

    def __init__(self, items: Sequence[Query | Candidate], languages: tuple[str, ...]) -> None:
        self.texts = [item.text for item in items]
        self.ids = [item.id for item in items]
        self.languages = languages
        code = {language: position for position, language in enumerate(languages)}
        self.language_codes = np.array([code[item.lang] for item in items], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        return self.texts[row]

    @cached_property
    def language_starts(self) -> np.ndarray:
        """First row of each language, then the number of texts: int64 (num_languages + 1,)."""
        codes = np.arange(len(self.languages) + 1)
        return np.searchsorted(self.language_codes, codes).astype(np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Number of texts of each language that has any."""
        sizes = np.diff(self.language_starts).tolist()
        return {name: size for name, size in zip(self.languages, sizes, strict=True) if size}


def check_languages(
    languages: Sequence[str] | None, known: Iterable[str], task: str
) -> tuple[str, ...]:
    """Return the languages of a task that are asked for, all if None.

    Raises:
        TypeError: if `languages` is a string.
        ValueError: if a language is not known, or none is asked for.
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
