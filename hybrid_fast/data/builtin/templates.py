"""Phrasings of questions and answers: one TOML file per language in the folder `templates`.

A file has one table per fact: `questions` with a placeholder for the entity, `answers` with one for
the entity and one for the answer. Names stand where the grammar does not inflect them (after a
colon, in quotation marks), so that they can be inserted as they are. The table `numbers` has the
words for numbers.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

LANGUAGES = ("ar", "de", "el", "en", "es", "fr", "hi", "ja", "ko", "ru", "th", "tr", "vi", "zh")


class Phrasings(NamedTuple):
    """The ways to ask for a fact ("{entity}") and to state it ("{entity}", "{answer}")."""

    questions: list[str]
    answers: list[str]


def phrasings(language: str) -> dict[str, Phrasings]:
    """Return fact -> phrasings of one language."""
    tables = _read(language)
    return {fact: Phrasings(**tables[fact]) for fact in tables if fact != "numbers"}


def number_words(language: str) -> dict[str, str]:
    """Return the words of one language for "0", "2" and "3"."""
    return _read(language)["numbers"]


@cache
def _read(language: str) -> dict[str, dict]:
    file = files(__package__) / "templates" / f"{language}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
