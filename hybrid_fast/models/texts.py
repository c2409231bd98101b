"""The two sides of a retriever, and what may be encoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor

TokenIds = npt.NDArray[np.uint16] | npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]
Side = Literal["query", "passage"]
Features = dict[str, Tensor]

SIDES: tuple[Side, Side] = ("query", "passage")


def check_side(side: str) -> Side:
    """Return `side`, one of "query" and "passage".

    Raises:
        ValueError: it is neither.
    """
    return cast(Side, check_name("side", side, SIDES))


def check_name(argument: str, name: object, known: Sequence[str]) -> str:
    """Return `name` if it is known.

    Raises:
        ValueError: it is not; the message lists what is known and the nearest of it.
    """
    if isinstance(name, str) and name in known:
        return name
    matches = get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {matches[0]!r}?" if matches else ""
    raise ValueError(f"{argument} is {name!r}; it must be one of {', '.join(known)}{hint}")


def check_strings(texts: Iterable[str]) -> list[str]:
    """Return `texts` as a list.

    Raises:
        TypeError: one string instead of a list, or an element that is no string.
    """
    if isinstance(texts, str | bytes):
        raise TypeError("texts is a single text; give a list of texts: [text]")
    texts = list(texts)
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {position} is a {type(text).__name__}; it must be a string")
    return texts


def check_texts(texts: Iterable[str], side: Side) -> list[str]:
    """Return `texts` as a list, every one of them with something to encode.

    Raises:
        TypeError: as `check_strings`.
        ValueError: a text is empty or blank.
    """
    texts = check_strings(texts)
    for position, text in enumerate(texts):
        if not text or text.isspace():
            raise ValueError(f"{side} {position} is empty; leave empty texts out before encoding")
    return texts


def check_num_tokens(texts: Sequence[str], num_tokens: Iterable[int]) -> None:
    """Raise a ValueError that shows the first text without a token.

    Args:
        texts: what was tokenised.
        num_tokens: how many tokens each text has.
    """
    for text, count in zip(texts, num_tokens, strict=True):
        if not count:
            raise ValueError(
                f"the text {text[:60]!r} has no token: the tokenizer drops all its characters; "
                "leave it out"
            )
