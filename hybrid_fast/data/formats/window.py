"""Windows of a text, cut at word boundaries where there are any, else between characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

_LONGEST_WORD = 40
_JOINED_TO_PREVIOUS = set("\u200c\u200d\u0e33\u0eb3")  # joiners; Thai and Lao sign am
_JOINED_TO_NEXT = set("\u200dเแโใไເແໂໃໄ")  # joiner; Thai and Lao vowels written before
_VIRAMA = 9  # canonical combining class of the signs that join Indic consonants


def window_around(text: str, start: int, end: int, size: int) -> str:
    """Return at most `size` characters around text[start:end], or that span if it is longer.

    Cuts are at white space if there is any within the length of a word; otherwise (Thai, Chinese)
    between two characters, never before a combining mark.

    Args:
        text: the whole text.
        start: first character to keep.
        end: one past the last character to keep.
        size: length of the window in code points.
    """
    left = max(0, (start + end - size) // 2)
    right = min(len(text), left + size)
    left = max(0, right - size)
    left = _first_cut(text, min(left, start), start)
    right = _last_cut(text, max(right, end), end)
    return text[left:right].strip()


def split_windows(text: str, size: int) -> Iterator[str]:
    """Yield windows of at most `size` characters, each from about the middle of the one before.

    Any span of at most half that length is whole in one of them. None is empty, unless the text
    is. Cuts are as in `window_around`.

    Args:
        text: the whole text.
        size: length of a window in code points, at least 2.
    """
    if not text.strip():
        yield ""
        return
    start = 0
    while True:
        end = _last_cut(text, min(start + size, len(text)), start + 1)
        if window := text[start:end].strip():
            yield window
        if end >= len(text):
            return
        middle = max(start + 1, end - size // 2)
        start = _first_cut(text, middle, end)


def _first_cut(text: str, position: int, last: int) -> int:
    """Return the first acceptable cut in [position, last]."""
    if position == 0:
        return position
    for cut in range(position, min(position + _LONGEST_WORD, last) + 1):
        if text[cut - 1].isspace():
            return cut
    return next((cut for cut in range(position, last) if _is_boundary(text, cut)), last)


def _last_cut(text: str, position: int, first: int) -> int:
    """Return the last acceptable cut in [first, position]."""
    if position == len(text):
        return position
    for cut in range(position, max(position - _LONGEST_WORD, first) - 1, -1):
        if text[cut].isspace():
            return cut
    return next((cut for cut in range(position, first, -1) if _is_boundary(text, cut)), first)


def _is_boundary(text: str, cut: int) -> bool:
    """Tell whether text[cut] starts a grapheme cluster (most of UAX 29)."""
    char, previous = text[cut], text[cut - 1]
    return not (
        unicodedata.category(char).startswith("M")
        or char in _JOINED_TO_PREVIOUS
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or previous in _JOINED_TO_NEXT
        or unicodedata.combining(previous) == _VIRAMA
    )
