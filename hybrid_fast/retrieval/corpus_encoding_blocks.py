"""The texts of a corpus cut into blocks, one a shard, which processes read in one order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import Any

from hybrid_fast.common.texts import check_unicode, id_text


@dataclass(frozen=True)
class Block:
    """Consecutive texts of a corpus.

    Attributes:
        number: of the block.
        first_row: position of its first text in the corpus.
        ids: of its texts, all different.
        languages: of its texts.
        texts: the texts, none of them blank.
    """

    number: int
    first_row: int
    ids: list[str]
    languages: list[str]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def language_counts(self) -> dict[str, int]:
        """Number of texts of each language, languages sorted."""
        return dict(sorted(Counter(self.languages).items()))

    @cached_property
    def digest(self) -> str:
        """32 hexadecimal digits that depend on all ids, languages and texts, and their order."""
        digest = blake2b(digest_size=16)
        for row in zip(self.ids, self.languages, self.texts, strict=True):
            for value in row:
                encoded = value.encode()
                digest.update(b"%d:" % len(encoded))
                digest.update(encoded)
        return digest.hexdigest()


def cut(
    corpus: Iterable[Any], size: int, name: str, is_wanted: Callable[[int], bool]
) -> Iterator[Block | int]:
    """Yield the blocks of a corpus, of which some are skipped.

    Args:
        corpus: gives (id, language, text).
        size: texts of each block but the last.
        name: of the corpus, for errors.
        is_wanted: tells whether the block of a number is wanted; it is asked for each, in order.

    Yields:
        A block, or of one that is skipped its number of texts.

    Raises:
        TypeError: what the corpus gives is no (id, language, text).
        ValueError: an id or text is empty, an id comes twice in a block, or something is no valid
            Unicode.
    """
    rows, number, first_row = iter(corpus), 0, 0
    while True:
        part: Block | int
        if is_wanted(number):
            part = _block(number, first_row, islice(rows, size), name)
            num_texts = len(part)
        else:
            part = num_texts = sum(1 for _ in islice(rows, size))
        if not num_texts:
            return
        yield part
        number, first_row = number + 1, first_row + num_texts


def _block(number: int, first_row: int, rows: Iterable[Any], name: str) -> Block:
    block = Block(number, first_row, [], [], [])
    known: dict[str, int] = {}
    for row, given in enumerate(rows, first_row):
        text_id, language, text = _checked(given, f"text {row} of {name}")
        if text_id in known:
            raise ValueError(
                f"texts {known[text_id]} and {row} of {name} have one id, {text_id!r}; give each "
                "an id of its own"
            )
        known[text_id] = row
        block.ids.append(text_id)
        block.languages.append(language)
        block.texts.append(text)
    return block


def _checked(given: Any, where: str) -> tuple[str, str, str]:
    if not isinstance(given, tuple | list) or len(given) != 3:
        raise TypeError(f"{where} is {given!r:.80}; (id, language, text) is needed")
    text_id = id_text(given[0], f"the id of {where}")
    if not text_id:
        raise ValueError(f"{where} has an empty id; give each text an id of its own")
    for what, value in (("language", given[1]), ("text", given[2])):
        if not isinstance(value, str):
            raise TypeError(f"the {what} of {where} (id {text_id!r}) is {value!r:.80}, no string")
        if not value.strip():
            raise ValueError(f"the {what} of {where} (id {text_id!r}) is empty; leave the text out")
        check_unicode(value, f"the {what} of {where} (id {text_id!r})")
    return text_id, given[1], given[2]
