"""SGML as TREC and CLEF use it for documents and topics: not well-formed XML.

Elements are found line by line: <DOC> and </DOC> are at the start of a line. A field ends at its
closing tag or, in topics without closing tags, at the next tag.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from hybrid_fast.data.formats.lines import iter_lines

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def has_elements(path: Path, name: str) -> bool:
    """Tell whether the first line that is not blank opens an element, or an XML file."""
    first = next((line.strip() for _, line in iter_lines(path) if line.strip()), "")
    return first.lower().startswith((f"<{name}", "<?xml", "<!doctype", "<root"))


def iter_elements(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield line number and content of each element, with one element in memory at a time.

    Raises:
        ValueError: with file and line, if an element is not closed or was not opened.
    """
    opening = re.compile(rf"\s*<{name}(?:\s[^<>]*)?>", re.IGNORECASE)
    closing = re.compile(rf"</{name}>\s*$", re.IGNORECASE)
    start = 0
    lines: list[str] = []
    for number, line in iter_lines(path):
        if opening.match(line):
            if start:
                raise ValueError(f"{path}:{number}: <{name}> within that of line {start}")
            start, lines = number, []
        if start:
            lines.append(closing.sub("", opening.sub("", line)))
        if closing.search(line):
            if not start:
                raise ValueError(f"{path}:{number}: </{name}> without <{name}>")
            yield start, "\n".join(lines)
            start = 0
    if start:
        raise ValueError(f"{path}:{start}: <{name}> has no </{name}>")


def field_text(element: str, name: str, where: str) -> str:
    """Return the text of a field; its tag may have a language before the name: "DE-title".

    Raises:
        ValueError: if there is no such field.
    """
    texts = field_texts(element, name)
    if not texts:
        raise ValueError(f"{where}: has no <{name}>")
    return texts[0]


def field_texts(element: str, name: str) -> list[str]:
    """Return the texts of all fields of a name, without tags, with entities resolved."""
    opening = re.compile(rf"<(?:[A-Za-z]{{2}}-)?{name}(?:\s[^<>]*)?>", re.IGNORECASE)
    texts = []
    for match in opening.finditer(element):
        rest = element[match.end() :]
        end = re.search(rf"</(?:[A-Za-z]{{2}}-)?{name}>", rest, re.IGNORECASE) or _TAG.search(rest)
        inner = rest[: end.start()] if end else rest
        texts.append(html.unescape(_TAG.sub(" ", inner)).strip())
    return texts
