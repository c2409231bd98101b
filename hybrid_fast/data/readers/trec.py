"""Runs and relevance judgements (qrels) in the forms of TREC, plain or gzip.

A line of qrels is "query 0 document grade", a line of a run "query Q0 document rank score tag";
fields are separated by white space. As in trec_eval the score alone orders a run, not the rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from hybrid_fast.data.readers.files import iter_lines

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
    return _read(Path(path), ("query", "0", "document", "grade"), 3, int)


def _read(
    path: Path, fields: tuple[str, ...], place: int, parse: Callable[[str], Number]
) -> dict[str, dict[str, Number]]:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
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
                f"{'number' if parse is _score else 'whole number'}"
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


def _score(text: str) -> float:
    score = float(text)
    if math.isnan(score):
        raise ValueError(text)
    return score
