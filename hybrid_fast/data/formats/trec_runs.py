"""Runs and relevance judgements (qrels), read and written, plain or compressed.

A line of a run is "query Q0 document rank score tag". A line of qrels is "query 0 document grade"
(TREC) or "query document grade" (BEIR, after a header). Fields are separated by white space, or by
tabs where a line of qrels has them. As in trec_eval a run is ordered by its scores alone, whatever
the ranks in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from hybrid_fast.common.files import complete_file
from hybrid_fast.common.texts import id_text
from hybrid_fast.data.formats.items import is_blank
from hybrid_fast.data.formats.lines import check_file, iter_lines
from hybrid_fast.data.formats.tolerance import EMPTY_LINES, Tolerance, reported

Run = dict[str, dict[str, float]]  # query id to document id to score
Qrels = dict[str, dict[str, float]]  # query id to document id to grade; above 0 is relevant

_RUN_LINE = "query Q0 document rank score tag"
_QRELS_LINE = "query 0 document grade"
_BEIR_HEADER = ("query-id", "corpus-id", "score")
_SIGN = 1 << 31  # the bit of a negative float32
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def read_run(path: str | Path, *, strict: bool = False) -> Run:
    """Read a run.

    Args:
        path: the file.
        strict: empty lines are errors; otherwise they are left out, with a warning that counts
            them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line does not have six fields, a score is not a number
            or is NaN, or a document occurs twice for a query.
    """
    path, run = check_file(path), Run()
    with reported(path, strict) as tolerance:
        for where, query, document, score in _scored(path, tolerance):
            of_query = run.setdefault(query, {})
            if document in of_query:
                raise ValueError(
                    f"{where}: query {query!r} has document {document!r} a second time; list each "
                    "document once"
                )
            of_query[document] = score
    if not run:
        raise ValueError(f"{path}: has no line of the form {_RUN_LINE!r}")
    return run


def read_qrels(path: str | Path, *, strict: bool = False) -> Qrels:
    """Read relevance judgements.

    Args:
        path: the file.
        strict: grades that are not written as whole numbers, headers of other words than BEIR's,
            and judgements that are there twice are errors; otherwise they are read (a repeated one
            once), with a warning that counts each kind.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line has neither three nor four fields, a grade is no
            number, or a query has two grades for a document.
    """
    path, qrels = check_file(path), Qrels()
    with reported(path, strict) as tolerance:
        for where, query, document, grade in _judgements(path, tolerance):
            of_query = qrels.setdefault(query, {})
            if of_query.get(document, grade) != grade:
                raise ValueError(
                    f"{where}: query {query!r} has grades {of_query[document]:g} and {grade:g} for "
                    f"document {document!r}; keep one of them"
                )
            if document in of_query:
                tolerance.allow("judgements that are there twice, read once", where)
            of_query[document] = grade
    if not qrels:
        raise ValueError(f"{path}: has no line of the form {_QRELS_LINE!r}")
    return qrels


def load_run(
    run: str | Path | Mapping[Any, Mapping[Any, float]],
) -> Mapping[str, Mapping[str, float]]:
    """Return a run: read if it is given as a file, checked if it is given as a mapping.

    Ids of mappings may be text or whole numbers, which become text.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: if it is neither a file nor a mapping of mappings, an id is neither text nor a
            whole number, or a score is no number.
        ValueError: if it is malformed, empty, has an id twice (as text and as a number), or a score
            that is NaN.
    """
    return read_run(run) if isinstance(run, str | Path) else _not_empty(run, "run", "score")


def load_qrels(
    qrels: str | Path | Mapping[Any, Mapping[Any, float]],
) -> Mapping[str, Mapping[str, float]]:
    """Return relevance judgements, from a file or a mapping; raises as `load_run`."""
    return (
        read_qrels(qrels) if isinstance(qrels, str | Path) else _not_empty(qrels, "qrels", "grade")
    )


def write_run(
    path: Path, ranking: Iterable[tuple[str, list[str], np.ndarray]], tag: str = "hybrid_fast"
) -> None:
    """Write a run whose scores alone give the order, as trec_eval and `evaluate_run` need it.

    Where documents share a score, the later one is written with the next lower float32: trec_eval
    would order equal scores by document id.

    Args:
        path: the file, compressed as its suffix says (".gz", ".zst"); it appears complete or not.
        ranking: query id, ids of its documents, best first, and their scores, float32 (k,).
        tag: the last field of each line; white space in it becomes "_".

    Raises:
        ValueError: an id is empty or contains white space.
    """
    tag = "_".join(tag.split()) or "run"
    with complete_file(path) as file:
        for query_id, ids, scores in ranking:
            check_run_ids([query_id, *ids])
            texts = strictly_falling(scores).astype(str)
            file.writelines(
                f"{query_id} Q0 {each} {rank} {score} {tag}\n"
                for rank, (each, score) in enumerate(zip(ids, texts, strict=True), 1)
            )


def check_run_ids(ids: Iterable[str]) -> None:
    """Raise ValueError if an id is empty or contains white space, which separates the fields."""
    ids = list(ids)
    if " ".join(ids).split() != ids:
        bad = next(each for each in ids if each.split() != [each])
        raise ValueError(
            f"id {bad!r} is empty or contains white space, which separates the fields of a TREC run"
        )


def write_qrels(path: Path, judgements: Iterable[tuple[str, str, float]]) -> None:
    """Write query id, document id and grade of each judgement; for the path see `write_run`.

    A whole grade is written as trec_eval needs it, "2"; a fraction as it is, which `read_qrels`
    reads and trec_eval cuts to a whole number.
    """
    with complete_file(path) as file:
        for query, document, grade in judgements:
            whole = int(grade) == grade
            file.write(f"{query} 0 {document} {int(grade) if whole else float(grade)}\n")


def _scored(path: Path, tolerance: Tolerance) -> Iterator[tuple[str, str, str, float]]:
    """Yield place, query, document and score of each line of a run."""
    for number, line in iter_lines(path):
        where, fields = f"{path}:{number}", line.split()
        if not fields:
            tolerance.allow(EMPTY_LINES, where)
            continue
        if len(fields) != 6:
            raise ValueError(f"{where}: has {len(fields)} fields; a line is {_RUN_LINE!r}")
        query, _, document, _, score, _ = fields
        yield where, query, document, _parse_score(score, where)


def _judgements(path: Path, tolerance: Tolerance) -> Iterator[tuple[str, str, str, float]]:
    """Yield place, query, document and grade of each line of qrels."""
    for number, line in iter_lines(path):
        where = f"{path}:{number}"
        if is_blank(line):
            tolerance.allow(EMPTY_LINES, where)
            continue
        fields = _qrels_fields(line)
        if len(fields) not in (3, 4):
            raise ValueError(
                f"{where}: has {len(fields)} fields; a line is {_QRELS_LINE!r}, or query, document "
                "and grade"
            )
        if number == 1 and _is_header(fields):
            known = tuple(fields) == _BEIR_HEADER
            kind = f"header of other words than {' '.join(_BEIR_HEADER)}, left out"
            tolerance.allow(kind, f"{where}: {line[:40]!r}", not known)
            continue
        grade = _parse_grade(fields[-1], where)
        is_whole = fields[-1].lstrip("+-").isdecimal()
        tolerance.allow("grades that are not written as whole numbers", where, not is_whole)
        if not (fields[0] and fields[-2]):
            raise ValueError(f"{where}: the id of the query or of the document is empty")
        yield where, fields[0], fields[-2], grade


def _qrels_fields(line: str) -> list[str]:
    """Return the fields of a line; those between tabs may hold spaces."""
    fields = [field.strip() for field in line.split("\t")]
    return fields if len(fields) in (3, 4) else line.split()


def _is_header(fields: list[str]) -> bool:
    """Tell whether a first line names its fields: words, and none of them a grade."""
    return not any(map(_NUMBER.fullmatch, fields)) and fields[-1].lower() not in ("nan", "inf")


def _parse_grade(text: str, where: str) -> float:
    """Return a grade, an int if it is whole."""
    grade = float(text) if _NUMBER.fullmatch(text) else math.inf
    if not abs(grade) < 2**31:
        raise ValueError(f"{where}: the grade is {text!r}, which is no number within 32 bits")
    return int(grade) if grade.is_integer() else grade


def _parse_score(text: str, where: str) -> float:
    try:
        score = math.nan if "_" in text else float(text)
    except ValueError:
        score = math.nan
    if math.isnan(score):
        raise ValueError(f"{where}: the score is {text!r}, which is no number")
    return score


def _not_empty(given: object, name: str, what: str) -> dict[str, dict[str, float]]:
    checked = with_text_ids(given, name, what)
    if not checked:
        raise ValueError(f"{name} is empty; it needs at least one query")
    return checked


def with_text_ids(given: object, name: str, what: str) -> dict[str, dict[str, float]]:
    """Return a checked mapping of query id to document id to number, with ids as text.

    Args:
        given: the mapping.
        name: what it is called, for messages.
        what: what its numbers are called.

    Raises:
        TypeError: if it is no mapping of mappings, an id is neither text nor a whole number, or a
            number is none.
        ValueError: if an id is there twice, as text and as a number, or a number is NaN.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is a {type(given).__name__}; give a file or a mapping")
    checked: dict[str, dict[str, float]] = {}
    for query, of_query in given.items():
        if not isinstance(of_query, Mapping):
            raise TypeError(
                f"{name}: query {query!r} has a {type(of_query).__name__}; give a mapping of "
                f"document id to {what}"
            )
        query_id = id_text(query, f"{name}: the id of a query")
        if query_id in checked:
            raise ValueError(f"{name}: query {query_id!r} is there twice, as text and as a number")
        checked[query_id] = _checked_numbers(of_query, f"{name}: query {query!r}", what)
    return checked


def _checked_numbers(of_query: Mapping[object, object], where: str, what: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for document, number in of_query.items():
        each = f"{where}, document {document!r}"
        if not is_number(number):
            raise TypeError(f"{each}: the {what} is {number!r}; give a number")
        if math.isnan(number):
            raise ValueError(f"{each}: NaN; give a number")
        if what == "grade" and math.isinf(number):
            raise ValueError(f"{each}: the grade is infinite; give a finite number")
        document_id = id_text(document, f"{where}: the id of a document")
        if document_id in numbers:
            raise ValueError(f"{each}: is there twice, as text and as a number")
        numbers[document_id] = float(number)
    return numbers


def is_number(value: object) -> TypeGuard[Real]:
    """Tell whether a value can be a grade or a score: a real number of any type, no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def strictly_falling(scores: np.ndarray) -> np.ndarray:
    """Return falling scores, float32 (k,), with ties broken by steps of one float32 each."""
    if (np.diff(scores) < 0).all():
        return scores
    # Numbered in their order a float32 is one above the next lower one. A place is at most one
    # below the place before it: with its position added, at most all that stand before it.
    places = np.arange(len(scores))
    fallen = np.minimum.accumulate(_order_number(scores) + places) - places
    fallen = np.maximum(fallen, _order_number(np.array([-np.inf], np.float32)))
    bits = np.where(fallen < 0, -fallen | _SIGN, fallen).astype(np.uint32)
    return bits.view(np.float32)


def _order_number(scores: np.ndarray) -> np.ndarray:
    """Return the number of each float32 in the order of all, int64: 0 for zero."""
    bits = np.ascontiguousarray(scores, np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits & _SIGN, -(bits & ~_SIGN), bits)
