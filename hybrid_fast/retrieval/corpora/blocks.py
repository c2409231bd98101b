"""The texts of a corpus cut into blocks, one a shard, which all processes read in one order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from operator import length_hint
from typing import Any

from hybrid_fast.common.texts import check_unicode, id_text
from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.data.formats.corpus_ids import SeenIds
from hybrid_fast.data.languages import normalize_language

_ROWS = 1024  # whose ids are checked at once


@dataclass(frozen=True)
class Block:
    """Consecutive texts of a corpus.

    Attributes:
        number: of the block.
        first_row: position of its first text in the corpus.
        rows: the texts, at least one.
    """

    number: int
    first_row: int
    rows: list[CorpusText]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def columns(self) -> tuple[list[str], list[str], list[str]]:
        """Ids, languages and texts."""
        ids, languages, texts = map(list, zip(*self.rows, strict=True))
        return ids, languages, texts

    @property
    def language_counts(self) -> dict[str, int]:
        """Number of texts of each language, languages sorted."""
        return dict(sorted(Counter(self.columns[1]).items()))

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that depend on all ids, languages and texts, and their order."""
        digest = blake2b(digest_size=16)
        for row in self.rows:
            for value in row:
                encoded = value.encode()
                digest.update(b"%d:" % len(encoded))
                digest.update(encoded)
        return digest.hexdigest()


def cut(
    texts: Iterable[CorpusText], size: int, is_wanted: Callable[[int], bool]
) -> Iterator[Block | int]:
    """Yield the blocks of a corpus, of which some are skipped.

    Args:
        texts: of the corpus.
        size: texts of each block but the last.
        is_wanted: tells whether the block of a number is wanted; it is asked for each, in order,
            and once more after the last.

    Yields:
        A block, or of one that is skipped its number of texts.
    """
    rows, number, first_row = iter(texts), 0, 0
    while True:
        part: Block | int
        if is_wanted(number):
            part = Block(number, first_row, list(islice(rows, size)))
            num_texts = len(part)
        else:
            part = num_texts = sum(1 for _ in islice(rows, size))
        if not num_texts:
            return
        yield part
        number, first_row = number + 1, first_row + num_texts


class GivenTexts:
    """Texts that a caller gives as (id, language, text), checked as those of files are.

    Codes of languages keep script, region and variants.

    Attributes:
        name: for messages and manifests.
    """

    def __init__(self, given: Iterable[Any]) -> None:
        """Take texts.

        Raises:
            TypeError: they can be read only once, or not at all.
        """
        self.name = str(getattr(given, "name", type(given).__name__))
        if not isinstance(given, Iterable) or isinstance(given, Iterator):
            raise TypeError(
                f"corpus is a {self.name}, and texts are needed that can be read again when work "
                "is resumed: a path, a list of (id, language, text), or an object whose __iter__ "
                "starts anew"
            )
        self._given = given

    def __length_hint__(self) -> int:
        """Return how many there are, or about that; 0 if they do not say."""
        return length_hint(self._given)

    def __iter__(self) -> Iterator[CorpusText]:
        """Yield the texts.

        Raises:
            TypeError: one is no (id, language, text).
            ValueError: an id, language or text is empty or no valid Unicode, a language is unknown,
                or an id comes twice.
        """
        seen, texts, first_row = SeenIds(), self._texts(), 0
        while rows := list(islice(texts, _ROWS)):
            for place in seen.add([text.id for text in rows]):
                self._check_repeated(first_row + place, rows[place].id)
            yield from rows
            first_row += len(rows)

    def _texts(self) -> Iterator[CorpusText]:
        for row, each in enumerate(self._given):
            yield _checked(each, f"text {row} of {self.name}")

    def _check_repeated(self, row: int, text_id: str) -> None:
        """Raise a ValueError with both places if an id, of those of equal digests, comes twice."""
        for other, text in enumerate(islice(self._texts(), row)):
            if text.id == text_id:
                raise ValueError(
                    f"texts {other} and {row} of {self.name} have one id, {text_id!r}; give each "
                    "text an id of its own"
                )


def _checked(given: Any, where: str) -> CorpusText:
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise TypeError(f"{where} is {given!r:.80}; (id, language, text) is needed")
    text_id = id_text(given[0], f"the id of {where}")
    if not text_id:
        raise ValueError(f"the id of {where} is empty; give each text an id of its own")
    for what, value in (("language", given[1]), ("text", given[2])):
        if not isinstance(value, str):
            raise TypeError(f"the {what} of {where} (id {text_id!r}) is {value!r:.80}, no string")
        if not value.strip():
            raise ValueError(f"the {what} of {where} (id {text_id!r}) is empty; leave the text out")
        check_unicode(value, f"the {what} of {where} (id {text_id!r})")
    try:
        language = normalize_language(given[1], keep_variants=True)
    except ValueError as error:
        raise ValueError(f"the language of {where} (id {text_id!r}): {error}") from error
    return CorpusText(text_id, language, given[2])
