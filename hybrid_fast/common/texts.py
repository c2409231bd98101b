r"""Texts and ids as everything needs them: valid Unicode, and ids of any type as text.

A Python string may hold half of a surrogate pair, which has no UTF-8 form: no file, Arrow column or
tokenizer takes it. Such halves come from JSON's \ud83d, from texts cut between UTF-16 units, and
from bytes that were decoded with errors="surrogateescape".
"""

from __future__ import annotations

import math
from numbers import Real


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


def id_text(value: object, where: str) -> str:
    """Return an id of any type as text: 7, numpy.int64(7) and "7" are one id.

    Args:
        value: the id.
        where: what to call it in errors, such as "task 'mine': query 3".

    Raises:
        ValueError: if it is missing (None, NaN) or no valid Unicode.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        raise ValueError(f"{where} has no id: it is {value!r}")
    text = str(value)
    check_unicode(text, f"{where}: the id {text!r}")
    return text
