"""Runs, relevance judgements (qrels) and topics in the forms of TREC, plain or gzip.

A line of qrels is "query 0 document grade", a line of a run "query Q0 document rank score tag";
fields are separated by white space. As in trec_eval the score alone orders a run, not the rank.
Topics are lines "query<TAB>text", or SGML: <top> elements with <num> and <title>, or the fields of
CLEF with a language in front of their names (<DE-title>).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from hybrid_fast.data.formats.files import iter_lines
from hybrid_fast.data.formats.items import check_text
from hybrid_fast.data.formats.sgml import field_text, has_elements, iter_elements

Run = dict[str, dict[str, float]]  # query id to document id to score
Qrels = dict[str, dict[str, int]]  # query id to document id to grade; above 0 is relevant

Number = TypeVar("Number", int, float)


def read_run(path: str | Path) -> Run:
    """Read a run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line has not six fields, a score is no number or NaN,
            or a query has a document twice.
    """
    return _read(Path(path), ("query", "Q0", "document", "rank", "score", "tag"), 4, _score)


def read_qrels(path: str | Path) -> Qrels:
    """Read relevance judgements.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line has not four fields, a grade is no whole number,
            or a query has a document twice.
    """
    return _read(Path(path), ("query", "0", "document", "grade"), 3, parse_grade)


def read_topics(path: str | Path) -> dict[str, str]:
    """Read the text of each query; of SGML topics it is the title.

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
            raise ValueError(f"{where}: query {topic_id!r} occurs a second time; leave one in")
        topics[topic_id] = check_text(text, where, "text", can_skip=False).strip()
    if not topics:
        raise ValueError(f"{path}: has no topic")
    return topics


def check_file(path: str | Path) -> Path:
    """Return a path; FileNotFoundError unless it is a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return Path(path)


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


def _read(
    path: Path, fields: tuple[str, ...], place: int, parse: Callable[[str], Number]
) -> dict[str, dict[str, Number]]:
    check_file(path)
    numbers: dict[str, dict[str, Number]] = {}
    for line_number, row in _rows(path, fields):
        of_query = numbers.setdefault(row[0], {})
        if row[2] in of_query:
            raise ValueError(
                f"{path}:{line_number}: query {row[0]!r} has document {row[2]!r} a second time; "
                "leave each document in once"
            )
        try:
            of_query[row[2]] = parse(row[place])
        except ValueError as error:
            raise ValueError(
                f"{path}:{line_number}: the {fields[place]} is {row[place]!r}, which is no "
                f"{'number' if parse is _score else 'whole number of 32 bits'}"
            ) from error
    if not numbers:
        raise ValueError(f"{path}: has no line of the form {' '.join(fields)!r}")
    return numbers


def _rows(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    for line_number, line in iter_lines(path):
        row = line.split()
        if len(row) == len(fields):
            yield line_number, row
        elif row:
            raise ValueError(
                f"{path}:{line_number}: has {len(row)} fields; a line is {' '.join(fields)!r}"
            )


def parse_grade(text: str) -> int:
    """Return a grade; ValueError if it is no whole number of 32 bits."""
    grade = int(text)
    if not -(2**31) <= grade < 2**31:
        raise ValueError(text)
    return grade


def _score(text: str) -> float:
    score = float(text)
    if math.isnan(score):
        raise ValueError(text)
    return score
