"""The two sides of a retriever, query and passage, and checks of what may be encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.texts import invalid_unicode

TokenIds = npt.NDArray[np.uint16] | npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Side = Literal["query", "passage"]
Features = dict[str, Tensor]


class Tokens(NamedTuple):
    """Of all texts of a batch.

    Attributes:
        ids: of all tokens, one text after another.
        lengths: tokens of each text, int64 (n,).
        prompt_length: those at its head that are not pooled.
    """

    ids: TokenIds
    lengths: Integers
    prompt_length: int


SIDES: tuple[Side, Side] = ("query", "passage")


def check_side(side: str) -> Side:
    """Return `side`, one of "query" and "passage".

    Raises:
        ValueError: it is neither.
    """
    return check_choice("side", side, SIDES)


def check_strings(texts: Iterable[str]) -> list[str]:
    """Return `texts` as a list.

    Raises:
        TypeError: a single string instead of a list, or an element that is not a string.
        ValueError: a text is no valid Unicode (with its position).
    """
    if isinstance(texts, str | bytes):
        raise TypeError("texts is a single text; give a list of texts: [text]")
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {position} is a {type(text).__name__}; it must be a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise invalid_unicode(error, f"text {position}") from None
    return texts


def check_inputs(inputs: Iterable[str]) -> list[str]:
    """Return texts as a list; see `check_strings`. A dict, whose keys it would list, is refused."""
    if isinstance(inputs, Mapping | bytes) or not isinstance(inputs, Iterable):
        raise TypeError(f"inputs is a {type(inputs).__name__}; a text or a list of texts is needed")
    return check_strings(inputs)


def check_texts(texts: Iterable[str], side: Side) -> list[str]:
    """Return `texts` as a list, none of them blank.

    Raises:
        TypeError: as `check_strings`.
        ValueError: a text is empty or blank, or no valid Unicode.
    """
    texts = check_strings(texts)
    for position, text in enumerate(texts):
        if not text or text.isspace():
            raise ValueError(f"{side} {position} is empty; leave empty texts out before encoding")
    return texts


def check_num_tokens(texts: Sequence[str], num_tokens: Iterable[int]) -> None:
    """Raise ValueError if a text has no token, with the text.

    Args:
        texts: what was tokenised.
        num_tokens: number of tokens of each text.
    """
    for text, count in zip(texts, num_tokens, strict=True):
        if not count:
            raise ValueError(
                f"the text {text[:60]!r} has no token: the tokenizer drops all its characters; "
                "leave it out"
            )
