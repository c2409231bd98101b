"""Topics, the queries of a TREC track, plain or gzipped.

Either lines "query<TAB>text", or SGML: <top> elements with <num> and <title>, or the fields of CLEF
with a language before their names (<DE-title>).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hybrid_fast.data.formats.files import check_file, iter_lines
from hybrid_fast.data.formats.items import check_text
from hybrid_fast.data.formats.sgml import field_text, has_elements, iter_elements


def read_topics(path: str | Path) -> dict[str, str]:
    """Return the text of each query by its id; of an SGML topic this is the title.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line has no tab, a topic lacks its number or title, a
            field is empty, or an id occurs twice.
    """
    path = check_file(path)
    topics: dict[str, str] = {}
    rows = _sgml_topics(path) if has_elements(path, "top") else _tab_topics(path)
    for where, topic_id, text in rows:
        topic_id = check_text(topic_id, where, "id", can_skip=False).strip()
        if topic_id in topics:
            raise ValueError(
                f"{where}: query {topic_id!r} occurs a second time; remove one of them"
            )
        topics[topic_id] = check_text(text, where, "text", can_skip=False).strip()
    if not topics:
        raise ValueError(f"{path}: has no topic")
    return topics


def _tab_topics(path: Path) -> Iterator[tuple[str, str, str]]:
    for line_number, line in iter_lines(path):
        if not line or line.isspace():
            continue
        topic_id, tab, text = line.partition("\t")
        if not tab:
            raise ValueError(f"{path}:{line_number}: has no tab; a line is 'query<TAB>text'")
        yield f"{path}:{line_number}", topic_id, text


def _sgml_topics(path: Path) -> Iterator[tuple[str, str, str]]:
    for line_number, element in iter_elements(path, "top"):
        where = f"{path}:{line_number}"
        number = field_text(element, "num", where).removeprefix("Number:")
        title = field_text(element, "title", where)
        yield where, number, title.strip().removeprefix("Topic:")
