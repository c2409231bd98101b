"""Topics, the queries of a track or benchmark, plain or compressed.

Lines "query<TAB>text"; SGML: <top> elements with <num> and <title>, or the fields of CLEF with a
language before their names (<DE-title>); or JSON records with an id and a text, as in BEIR.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hybrid_fast.data.formats.collection import iter_records
from hybrid_fast.data.formats.fields import id_of, text_of
from hybrid_fast.data.formats.items import check_text, is_blank
from hybrid_fast.data.formats.lines import check_file, iter_lines, plain_suffix
from hybrid_fast.data.formats.sgml import field_text, has_elements, iter_elements
from hybrid_fast.data.formats.tolerance import EMPTY_LINES, Tolerance, reported

_RECORDS = (".jsonl", ".ndjson", ".json", ".parquet")
_ID_FIELDS = ("_id", "id", "query_id", "query-id", "qid")
_TEXT_FIELDS = ("text", "query", "contents")


def read_topics(path: str | Path, *, strict: bool = False) -> dict[str, str]:
    """Return the text of each query by its id; of an SGML topic this is the title.

    Args:
        path: the file; its name tells JSON (.jsonl, .json, .parquet), its content SGML.
        strict: queries without a text and empty lines are errors; otherwise they are left out, with
            a warning that counts them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line has no tab, a topic lacks its number or title, an
            id is empty or occurs twice.
    """
    path = check_file(path)
    topics: dict[str, str] = {}
    with reported(path, strict) as tolerance:
        for where, topic_id, text in _read(path, tolerance):
            topic_id = check_text(topic_id, where, "id", can_skip=False).strip()
            if topic_id in topics:
                raise ValueError(
                    f"{where}: query {topic_id!r} occurs a second time; remove one of them"
                )
            if is_blank(text):
                where = f"{where}: the text of query {topic_id!r} is empty"
                tolerance.allow("queries without a text, left out", where)
            else:
                topics[topic_id] = text.strip()
    if not topics:
        raise ValueError(f"{path}: has no topic")
    return topics


def _read(path: Path, tolerance: Tolerance) -> Iterator[tuple[str, str, str]]:
    if plain_suffix(path) in _RECORDS:
        return _json_topics(path, tolerance)
    return _sgml_topics(path) if has_elements(path, "top") else _tab_topics(path, tolerance)


def _json_topics(path: Path, tolerance: Tolerance) -> Iterator[tuple[str, str, str]]:
    for where, record in iter_records(path, tolerance):
        yield where, id_of(record, _ID_FIELDS, where), text_of(record, _TEXT_FIELDS, where)


def _tab_topics(path: Path, tolerance: Tolerance) -> Iterator[tuple[str, str, str]]:
    for line_number, line in iter_lines(path):
        if is_blank(line):
            tolerance.allow(EMPTY_LINES, f"{path}:{line_number}")
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
