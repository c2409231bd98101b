"""Passages of a collection, one at a time, in the formats in which collections are published.

JSON, Parquet and CSV: an id (`docid`, `_id`, `id` ...), a text (`text`, `contents` ...) and
optionally a `title`, as in MIRACL, Mr. TyDi and BEIR. TSV: id, text and title, with or without a
header, as in DPR. SGML: <DOC> elements with <DOCNO>, as in TREC and CLEF. All may be compressed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from hybrid_fast.data.formats.fields import ID_FIELDS, TEXT_FIELDS
from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import is_blank
from hybrid_fast.data.formats.lines import check_file, iter_lines, plain_suffix
from hybrid_fast.data.formats.parquet import iter_parquet_rows
from hybrid_fast.data.formats.passages import Passage, PassageMapper
from hybrid_fast.data.formats.records import (
    RECORD_READERS,
    Record,
    RecordReader,
    read_tsv,
)
from hybrid_fast.data.formats.sgml import field_text, field_texts, iter_elements
from hybrid_fast.data.formats.tolerance import EMPTY_LINES, Tolerance, reported

_RECORDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
_SGML = (".trec", ".sgml", ".sgm", ".xml")
SUFFIXES = (".jsonl", ".tsv", *_SGML, ".ndjson", ".json", ".parquet", ".csv")
FORMAT_OF_SUFFIX = {
    **_RECORDS,
    **dict.fromkeys(_SGML, "sgml"),
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "lines",
}
_DPR_HEADER = ["id", "text", "title"]
# The fields that make up title and text of a document of TREC or CLEF; others are left out.
_SGML_TITLES = ("TITLE", "HEADLINE", "TI", "HEAD", "HL")
_SGML_TEXTS = ("TEXT", "LD", "TX")


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
            format = FORMAT_OF_SUFFIX.get(plain_suffix(check_file(path)), "lines")
            if format == "lines":
                raise ValueError(
                    f"{path}: a collection is a file of {', '.join(SUFFIXES)}, plain or compressed"
                )
            mapper = PassageMapper(tolerance)
            yield from file_passages(mapper, SourceFile(path, None, path.name), format)


def file_passages(mapper: PassageMapper, file: SourceFile, format: str) -> Iterator[Passage]:
    """Yield the passages of one file.

    Args:
        mapper: of the corpus.
        file: the file.
        format: one of `FORMATS`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: as `iter_passages`.
    """
    path = check_file(file.path)
    if format == "lines":
        mapper.number_rows()
    if format == "parquet":
        records: Iterator[tuple[int, Record]] = enumerate(iter_parquet_rows(path, mapper.needed), 1)
    else:
        records = _READERS[format](path, mapper.has_header, mapper.tolerance)
    return mapper.passages(file, records)


def language_in_name(path: Path) -> str | None:
    """Return the language that a name such as "corpus.de.jsonl" tells, None if it tells none."""
    pieces = path.name.split(".")[1:]
    is_named = len(pieces) > 1 and f".{pieces[0]}" not in FORMAT_OF_SUFFIX
    return pieces[0] if is_named else None


def iter_records(
    path: Path, tolerance: Tolerance | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place (file:line, or file:row) of each record of a JSON or Parquet file, and it."""
    format = _RECORDS.get(plain_suffix(check_file(path)), "jsonl")
    read = RECORD_READERS[format]
    for number, record in read(path, True, tolerance or Tolerance(path)):
        yield f"{path}:{number}", cast(dict[str, Any], record)


def _read_tsv(path: Path, has_header: bool, tolerance: Tolerance) -> Iterator[tuple[int, Record]]:
    """Yield line numbers and records of a file of id, text and title, or of one with a header."""
    names = next((line for _, line in iter_lines(path)), "").split("\t")
    is_header = {*names} & {*ID_FIELDS} and {*names} & {*TEXT_FIELDS}
    if not has_header or (is_header and names not in (_DPR_HEADER, _DPR_HEADER[:2])):
        return read_tsv(path, has_header, tolerance)
    return _id_text_title(path, tolerance)


def _id_text_title(path: Path, tolerance: Tolerance) -> Iterator[tuple[int, Record]]:
    for number, line in iter_lines(path):
        fields = line.split("\t")
        if number == 1 and fields[:2] == _DPR_HEADER[:2]:
            continue
        if not line.strip():
            tolerance.allow(EMPTY_LINES, f"{path}:{number}")
            continue
        if len(fields) not in (2, 3):
            raise ValueError(
                f"{path}:{number}: has {len(fields)} tab-separated fields; a line has id, text and "
                "optionally title"
            )
        # DPR quotes a text that contains quotation marks, as CSV does.
        text = fields[1]
        if len(text) > 1 and text[0] == text[-1] == '"':
            fields[1] = text[1:-1].replace('""', '"')
        yield number, dict(zip(_DPR_HEADER, fields, strict=False))


def _read_sgml(path: Path, has_header: bool, tolerance: Tolerance) -> Iterator[tuple[int, Record]]:
    for number, element in iter_elements(path, "doc"):
        titles = [text for name in _SGML_TITLES for text in field_texts(element, name)]
        texts = [text for name in _SGML_TEXTS for text in field_texts(element, name)]
        document_id = field_text(element, "DOCNO", f"{path}:{number}")
        yield number, {"id": document_id, "title": " ".join(titles), "text": "\n".join(texts)}


def _read_lines(path: Path, has_header: bool, tolerance: Tolerance) -> Iterator[tuple[int, Record]]:
    for number, line in iter_lines(path):
        if is_blank(line):
            tolerance.allow(EMPTY_LINES, f"{path}:{number}")
        else:
            yield number, {"text": line}


_READERS: dict[str, RecordReader] = {
    **RECORD_READERS,
    "tsv": _read_tsv,
    "sgml": _read_sgml,
    "lines": _read_lines,
}
FORMATS = tuple(_READERS)
