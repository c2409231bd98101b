"""Runs and relevance judgements (qrels) in TREC's format, read and written, plain or gzipped.

A line of qrels is "query 0 document grade", a line of a run "query Q0 document rank score tag";
fields are separated by white space. As in trec_eval a run is ordered by its scores alone, whatever
the ranks in the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from hybrid_fast.common.files import complete_file
from hybrid_fast.data.formats.files import check_file, iter_lines

Run = dict[str, dict[str, float]]  # query id to document id to score
Qrels = dict[str, dict[str, int]]  # query id to document id to grade; above 0 is relevant

Number = TypeVar("Number", int, float)


def read_run(path: str | Path) -> Run:
    """Read a run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line does not have six fields, a score is not a number
            or is NaN, or a document occurs twice for a query.
    """
    return _read(Path(path), ("query", "Q0", "document", "rank", "score", "tag"), 4, _score)


def read_qrels(path: str | Path) -> Qrels:
    """Read relevance judgements.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line does not have four fields, a grade is not a whole
            number, or a document occurs twice for a query.
    """
    return _read(Path(path), ("query", "0", "document", "grade"), 3, parse_grade)


def load_run(
    run: str | Path | Mapping[str, Mapping[str, float]],
) -> Mapping[str, Mapping[str, float]]:
    """Return a run: read if it is given as a file, checked if it is given as a mapping.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: if it is neither a file nor a mapping.
        ValueError: if it is malformed, empty, or has a score that is NaN.
    """
    return read_run(run) if isinstance(run, str | Path) else _checked(run, "run")


def load_qrels(
    qrels: str | Path | Mapping[str, Mapping[str, int]],
) -> Mapping[str, Mapping[str, int]]:
    """Return relevance judgements, from a file or a mapping; raises as `load_run`."""
    return read_qrels(qrels) if isinstance(qrels, str | Path) else _checked(qrels, "qrels")


def write_run(
    path: Path, ranking: Iterable[tuple[str, list[str], np.ndarray]], tag: str = "hybrid_fast"
) -> None:
    """Write a run whose scores alone give the order, as trec_eval and `evaluate_run` need it.

    Where documents share a score, the later one is written with the next lower float32: trec_eval
    would order equal scores by document id.

    Args:
        path: the file, gzipped if it ends in ".gz"; it appears complete or not at all.
        ranking: query id, ids of its documents, best first, and their scores, float32 (k,).
        tag: the last field of each line; white space in it becomes "_".
    """
    tag = "_".join(tag.split()) or "run"
    with complete_file(path) as file:
        for query_id, ids, scores in ranking:
            texts = _strictly_falling(scores).astype(str)
            file.writelines(
                f"{query_id} Q0 {each} {rank} {score} {tag}\n"
                for rank, (each, score) in enumerate(zip(ids, texts, strict=True), 1)
            )


def write_qrels(path: Path, judgements: Iterable[tuple[str, str, float]]) -> None:
    """Write query id, document id and grade of each judgement; for the path see `write_run`.

    A whole grade is written as trec_eval needs it, "2" and not "2.0"; a fraction as it is, which
    trec_eval would cut to a whole number.
    """
    with complete_file(path) as file:
        file.writelines(
            f"{query} 0 {document} {int(grade) if grade == int(grade) else float(grade)}\n"
            for query, document, grade in judgements
        )


def parse_grade(text: str) -> int:
    """Return a grade; ValueError unless it is a whole number of 32 bits."""
    grade = int(text)
    if not -(2**31) <= grade < 2**31:
        raise ValueError(text)
    return grade


def _score(text: str) -> float:
    score = float(text)
    if math.isnan(score):
        raise ValueError(text)
    return score


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
                "list each document once"
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


def _checked(
    given: Mapping[str, Mapping[str, Number]], name: str
) -> Mapping[str, Mapping[str, Number]]:
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is a {type(given).__name__}; give a file or a mapping")
    if not given:
        raise ValueError(f"{name} is empty; it needs at least one query")
    for query, of_query in given.items():
        for document, number in of_query.items():
            if math.isnan(number):
                raise ValueError(
                    f"{name}: query {query!r}, document {document!r}: NaN; give a number"
                )
    return given


def _strictly_falling(scores: np.ndarray) -> np.ndarray:
    """Return falling scores, float32 (k,), with ties broken by steps of one float32 each."""
    if (np.diff(scores) < 0).all():
        return scores
    fallen = scores.copy()
    for place in range(1, len(fallen)):
        fallen[place] = min(fallen[place], np.nextafter(fallen[place - 1], np.float32(-np.inf)))
    return fallen
