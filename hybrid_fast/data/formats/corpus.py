"""Texts of a corpus with their ids and languages, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class CorpusText(NamedTuple):
    """A text of a corpus: a passage, with its title before it if it has one."""

    id: str
    language: str
    text: str


class Corpus(Protocol):
    """Texts that can be read again and again, in one order.

    Attributes:
        name: for messages and manifests.
    """

    name: str

    def __iter__(self) -> Iterator[CorpusText]: ...
