"""Passages of a collection, one at a time, in the formats in which collections are published.

JSON and Parquet: an id (`docid`, `_id`, `id` ...), a text (`text`, `contents` ...) and optionally a
`title`, as in MIRACL, Mr. TyDi and BEIR. TSV: id, text and title, with or without a header, as in
DPR. SGML: <DOC> elements with <DOCNO>, as in TREC and CLEF. All may be compressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from hybrid_fast.data.formats.items import is_blank
from hybrid_fast.data.formats.lines import check_file, iter_lines, plain_suffix
from hybrid_fast.data.formats.records import RECORD_READERS
from hybrid_fast.data.formats.sgml import field_text, field_texts, iter_elements
from hybrid_fast.data.formats.tolerance import EMPTY_LINES, Tolerance, reported

_RECORDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
_SGML = (".trec", ".sgml", ".sgm", ".xml")
SUFFIXES = (".jsonl", ".tsv", *_SGML, ".ndjson", ".json", ".parquet")
_ID_FIELDS = ("docid", "_id", "id", "doc_id", "corpus-id", "corpus_id", "pid")
_TEXT_FIELDS = ("text", "contents", "passage", "body")
# The fields that make up title and text of a document of TREC or CLEF; others are left out.
_SGML_TITLES = ("TITLE", "HEADLINE", "TI", "HEAD", "HL")
_SGML_TEXTS = ("TEXT", "LD", "TX")


class Passage(NamedTuple):
    """A passage or document, and where it was read (for messages)."""

    id: str
    title: str
    text: str
    where: str


def iter_passages(paths: Sequence[Path], *, strict: bool = False) -> Iterator[Passage]:
    """Yield the passages of files, in the order of the files.

    Args:
        paths: the files.
        strict: a passage without title and text is an error; otherwise such passages are left out,
            with a warning that counts them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a file is malformed or of an unknown format, a field is
            missing or not text, or an id is empty.
    """
    for path in paths:
        with reported(path, strict) as tolerance:
            for passage in _read(check_file(path), tolerance):
                if not passage.id:
                    raise ValueError(f"{passage.where}: the id is empty")
                if is_blank(passage.title + passage.text):
                    where = f"{passage.where}: passage {passage.id!r} has no text"
                    tolerance.allow("passages without title and text, left out", where)
                else:
                    yield passage


def iter_records(
    path: Path, tolerance: Tolerance | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place (file:line, or file:row) of each record of a JSON or Parquet file, and it."""
    format = _RECORDS.get(plain_suffix(check_file(path)), "jsonl")
    read = RECORD_READERS[format]
    for number, record in read(path, True, tolerance or Tolerance(path)):
        yield f"{path}:{number}", cast(dict[str, Any], record)


def field_of(record: dict[str, Any], names: Sequence[str], where: str) -> str:
    """Return the first of these fields that a record has, as text.

    Raises:
        ValueError: if it has none of them, or the value is neither text nor a whole number.
    """
    name = next((name for name in names if record.get(name) is not None), None)
    if name is None:
        raise ValueError(
            f"{where}: has no field {' or '.join(map(repr, names))}; the fields are {list(record)}"
        )
    value = record[name]
    if type(value) not in (str, int):
        raise ValueError(f"{where}, field {name!r}: must be text, got {str(value)[:40]!r}")
    return str(value)


def text_of(record: dict[str, Any], names: Sequence[str], where: str) -> str:
    """Return a text as `field_of` does; an empty one if the fields that the record has are null."""
    is_null = all(record.get(name) is None for name in names)
    is_known = any(name in record for name in names)
    return "" if is_null and is_known else field_of(record, names, where)


def id_of(record: dict[str, Any], names: Sequence[str], where: str) -> str:
    """Return an id as `field_of` does, without white space around it."""
    return field_of(record, names, where).strip()


def _read(path: Path, tolerance: Tolerance) -> Iterator[Passage]:
    suffix = plain_suffix(path)
    if suffix in _RECORDS:
        return _read_records(path, tolerance)
    if suffix == ".tsv":
        return _read_tsv(path, tolerance)
    if suffix in _SGML:
        return _read_sgml(path)
    raise ValueError(
        f"{path}: a collection is a file of {', '.join(SUFFIXES)}, plain or compressed"
    )


def _read_records(path: Path, tolerance: Tolerance) -> Iterator[Passage]:
    for where, record in iter_records(path, tolerance):
        passage_id = id_of(record, _ID_FIELDS, where)
        title = field_of(record, ("title",), where) if record.get("title") else ""
        yield Passage(passage_id, title, text_of(record, _TEXT_FIELDS, where), where)


def _read_tsv(path: Path, tolerance: Tolerance) -> Iterator[Passage]:
    for number, line in iter_lines(path):
        fields = line.split("\t")
        if number == 1 and fields[:2] == ["id", "text"]:
            continue
        if not line.strip():
            tolerance.allow(EMPTY_LINES, f"{path}:{number}")
            continue
        if len(fields) not in (2, 3):
            raise ValueError(
                f"{path}:{number}: has {len(fields)} tab-separated fields; a line has id, text and "
                "optionally title"
            )
        passage_id, text, title = [*fields, ""][:3]
        # DPR quotes a text that contains quotation marks, as CSV does.
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].replace('""', '"')
        yield Passage(passage_id.strip(), title, text, f"{path}:{number}")


def _read_sgml(path: Path) -> Iterator[Passage]:
    for number, element in iter_elements(path, "doc"):
        where = f"{path}:{number}"
        titles = [text for name in _SGML_TITLES for text in field_texts(element, name)]
        texts = [text for name in _SGML_TEXTS for text in field_texts(element, name)]
        yield Passage(
            field_text(element, "DOCNO", where), " ".join(titles), "\n".join(texts), where
        )
