"""Queries and judgements of a BEIR folder: queries.jsonl and qrels/<split>.tsv."""

from __future__ import annotations

from pathlib import Path

from hybrid_fast.data.formats.collection import field_of, iter_records
from hybrid_fast.data.formats.files import check_file, iter_lines
from hybrid_fast.data.formats.items import check_text
from hybrid_fast.data.formats.trec_runs import Qrels, parse_grade


def read_queries(path: Path) -> dict[str, str]:
    """Read the text of each query.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if it is malformed or an id occurs twice.
    """
    queries: dict[str, str] = {}
    for where, record in iter_records(path):
        query_id = field_of(record, ("_id",), where)
        if query_id in queries:
            raise ValueError(f"{where}: query {query_id!r} occurs twice; keep one of them")
        text = field_of(record, ("text",), where)
        queries[query_id] = check_text(text, where, "text", can_skip=False)
    return queries


def read_beir_qrels(path: Path) -> Qrels:
    """Read lines of query, document and grade; the first line is a header.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a line does not have three fields, a grade is not a whole
            number, or a query has a document twice.
    """
    qrels: Qrels = {}
    for number, line in iter_lines(check_file(path)):
        fields = line.split("\t")
        if number == 1 and fields[-1].strip() == "score":
            continue
        where = f"{path}:{number}"
        if len(fields) != 3:
            raise ValueError(
                f"{where}: has {len(fields)} tab-separated fields; a line is query-id, corpus-id "
                "and score"
            )
        query, document, grade = fields
        if document in qrels.setdefault(query, {}):
            raise ValueError(
                f"{where}: query {query!r} has document {document!r} twice; list it once"
            )
        try:
            qrels[query][document] = parse_grade(grade)
        except ValueError as error:
            raise ValueError(
                f"{where}: the score is {grade!r}, which is not a whole number of 32 bits"
            ) from error
    if not qrels:
        raise ValueError(f"{path} has no judgements")
    return qrels
