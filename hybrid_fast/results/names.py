"""Names as people read them: English names of languages, and printable text from files."""

from __future__ import annotations

from babel import Locale, UnknownLocaleError


def language_name(code: str) -> str:
    """Return the English name of a BCP-47 code, the code itself where it has none."""
    name = Locale("en").languages.get(code.replace("-", "_"))
    if name:
        return name
    try:
        return Locale.parse(code, sep="-").get_display_name("en") or code
    except (UnknownLocaleError, ValueError):
        return code


def printable(value: object) -> str:
    """Return the value as text without control characters, line breaks and lone surrogates."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)
    )
