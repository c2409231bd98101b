r"""Texts and ids as everything needs them: valid Unicode, and ids of any type as text.

A Python string may hold half of a surrogate pair, which has no UTF-8 form: no file, Arrow column or
tokenizer takes it. Such halves come from JSON's \ud83d, from texts cut between UTF-16 units, and
from bytes that were decoded with errors="surrogateescape".
"""

from __future__ import annotations

import math
from typing import Any

_NO_ID = (bool, float, complex, list, tuple, dict, set, frozenset)
_NO_TEXT = object.__repr__  # of what prints as its type and address


def check_unicode(text: str, where: str) -> None:
    """Raise a ValueError unless a text is valid Unicode.

    Args:
        text: any text.
        where: what to call it in the error, such as "query 3".
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid_unicode(error, where) from None


def invalid_unicode(error: UnicodeEncodeError, where: str) -> ValueError:
    """Return the error for a text that `str.encode` refused; for `where` see `check_unicode`."""
    half = ord(error.object[error.start])
    return ValueError(
        f"{where} is no valid Unicode: its character {error.start} is half of a surrogate pair "
        f"(U+{half:04X}); repair it with "
        "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
    )


def id_text(value: Any, what: str) -> str:
    """Return an id of any type as text: 7, numpy.int64(7), b"7" and "7" are one id.

    Args:
        value: the id: text, a whole number, a UUID, a scalar of NumPy or torch, or anything else
            with a text of its own.
        what: what it is, for errors, such as "the id of query 3".

    Raises:
        TypeError: if it is missing (None, NaN), has no such text, as a list, or not one alone, as
            1.0, which is neither "1" nor "1.0".
        ValueError: if it is no valid Unicode.
    """
    text = value if type(value) is str else _text_of(value, what)
    check_unicode(text, what)
    return text


def _text_of(value: Any, what: str) -> str:
    given = value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise TypeError(f"{what} is missing: it is {given!r}; ids are text or whole numbers")
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    has_text = type(value).__str__ is not object.__str__ or type(value).__repr__ is not _NO_TEXT
    if isinstance(value, _NO_ID) or hasattr(value, "tolist") or not has_text:
        raise TypeError(
            f"{what} is {given!r} ({type(given).__name__}); ids are text or whole numbers, or have "
            "a text of their own, as UUIDs do"
        )
    return str(value)
