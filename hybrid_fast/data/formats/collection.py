"""Passages of a collection, one at a time, in the forms in which collections are published.

JSON Lines: an id (`docid`, `_id` or `id`), a text (`text` or `contents`) and perhaps a `title`, as
of MIRACL, Mr. TyDi and BEIR. TSV: id, text and title, with or without a header, as of DPR. SGML:
<DOC> elements with <DOCNO>, as of TREC and CLEF. All may be gzipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from hybrid_fast.data.formats.files import check_file, iter_lines
from hybrid_fast.data.formats.items import is_blank
from hybrid_fast.data.formats.records import read_jsonl
from hybrid_fast.data.formats.sgml import field_text, field_texts, iter_elements

SUFFIXES = (".jsonl", ".tsv", ".trec", ".sgml", ".sgm", ".xml")
_ID_FIELDS = ("docid", "_id", "id")
_TEXT_FIELDS = ("text", "contents")
# What makes the text of a document of TREC or CLEF; its header fields are left out.
_SGML_TITLES = ("TITLE", "HEADLINE", "TI", "HEAD", "HL")
_SGML_TEXTS = ("TEXT", "LD", "TX")


class Passage(NamedTuple):
    """A passage or document, and where it was read, for messages."""

    id: str
    title: str
    text: str
    where: str


def iter_passages(paths: Sequence[Path]) -> Iterator[Passage]:
    """Yield the passages of files, in the order of the files.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: with file and line, if a file is malformed or of an unknown form, a field is
            missing or no text, an id is empty, or both title and text are.
    """
    for path in paths:
        for passage in _reader(check_file(path))(path):
            if is_blank(passage.id):
                raise ValueError(f"{passage.where}: the id is empty")
            if is_blank(passage.title + passage.text):
                raise ValueError(f"{passage.where}: passage {passage.id!r} has no text")
            yield passage


def iter_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each object of a JSON Lines file stands, and the object."""
    for number, record in read_jsonl(check_file(path), header=True):
        yield f"{path}:{number}", cast(dict[str, Any], record)


def field_of(record: dict[str, Any], names: Sequence[str], where: str) -> str:
    """Return the first field of these names that a record has, as text.

    Raises:
        ValueError: if it has none, or it is neither text nor a whole number.
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


def _reader(path: Path) -> Callable[[Path], Iterator[Passage]]:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a collection is a file of {', '.join(SUFFIXES)}, plain or .gz")
    return {".jsonl": _read_jsonl, ".tsv": _read_tsv}.get(suffix, _read_sgml)


def _read_jsonl(path: Path) -> Iterator[Passage]:
    for where, record in iter_records(path):
        title = field_of(record, ("title",), where) if record.get("title") else ""
        yield Passage(
            field_of(record, _ID_FIELDS, where), title, field_of(record, _TEXT_FIELDS, where), where
        )


def _read_tsv(path: Path) -> Iterator[Passage]:
    for number, line in iter_lines(path):
        fields = line.split("\t")
        if number == 1 and fields[:2] == ["id", "text"]:
            continue
        if len(fields) not in (2, 3):
            raise ValueError(
                f"{path}:{number}: has {len(fields)} tab-separated fields; a line is id, text and "
                "perhaps title"
            )
        passage_id, text, title = [*fields, ""][:3]
        # DPR's file quotes a text that holds quotation marks, as CSV does.
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].replace('""', '"')
        yield Passage(passage_id, title, text, f"{path}:{number}")


def _read_sgml(path: Path) -> Iterator[Passage]:
    for number, element in iter_elements(path, "doc"):
        where = f"{path}:{number}"
        titles = [text for name in _SGML_TITLES for text in field_texts(element, name)]
        texts = [text for name in _SGML_TEXTS for text in field_texts(element, name)]
        yield Passage(
            field_text(element, "DOCNO", where), " ".join(titles), "\n".join(texts), where
        )
