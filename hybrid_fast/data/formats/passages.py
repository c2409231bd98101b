"""Passages of records: which fields hold the id, title, text and language, and how they are joined.

Fields are found by the names that published collections have, or named by the user.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hybrid_fast.common.choices import check_choice, nearest
from hybrid_fast.data.formats.fields import (
    ID_FIELDS,
    TEXT_FIELDS,
    Column,
    MissingField,
    field_of,
    look_up,
)
from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import is_blank
from hybrid_fast.data.formats.json_text import Json
from hybrid_fast.data.formats.records import Record
from hybrid_fast.data.formats.tolerance import Tolerance

logger = logging.getLogger(__name__)

CANDIDATE_TEXTS = ("title+text", "text")
KNOWN_FIELDS = {
    "id": ID_FIELDS,
    "title": ("title",),
    "text": TEXT_FIELDS,
    "language": ("lang", "language", "_lang", "language_code", "lang_code"),
}
_TEXT = {str}
PassageColumns = Mapping[str, Column | None]


class Passage(NamedTuple):
    """A passage or document, and where it was read (for messages).

    `language` is the code that its record gives, None if it gives none.
    """

    id: str
    title: str
    text: str
    where: str
    language: str | None = None


def join_title(title: str, text: str, candidate_text: str) -> str:
    """Return a text after its title and a space, or alone; a title if there is no text.

    Args:
        title: the title, which may be empty.
        text: the text, which may be empty.
        candidate_text: "title+text" or "text".
    """
    if text and candidate_text == "text":
        return text
    return f"{title} {text}".strip()


def check_candidate_text(candidate_text: str | None) -> str:
    """Return the part of passages that is searched, default "title+text"; ValueError if unknown."""
    return check_choice("candidate_text", candidate_text or CANDIDATE_TEXTS[0], CANDIDATE_TEXTS)


class PassageMapper:
    """Turns the records of a corpus, file by file, into passages.

    The first record of all decides whether there are ids.

    Attributes:
        tolerance: told of what is let pass.
        has_header: whether CSV and TSV begin with the names of their fields.

    Args:
        tolerance: see above.
        columns: {"id", "title", "text", "language": the field of it}, each a name, a dotted path or
            a position; None where there is no such field. What is not named is found by the names
            of `KNOWN_FIELDS`.
        number_rows: where the first record has no field of an id, file and row make ids.

    Raises:
        TypeError, ValueError: for columns that are none.
    """

    def __init__(
        self,
        tolerance: Tolerance,
        columns: PassageColumns | None = None,
        *,
        number_rows: bool = False,
    ) -> None:
        self.tolerance, self._columns = tolerance, dict(columns or {})
        self.has_header = not _are_positions(self._columns)
        self._number_rows = number_rows
        self._is_first, self._is_numbered = True, False
        self._names: tuple[str, ...] | None = None
        self._known: dict[str, list[str]] = {}
        self._plain_names: Sequence[str | None] | None = None

    def passages(
        self, file: SourceFile, records: Iterator[tuple[int, Record]]
    ) -> Iterator[Passage]:
        """Yield the passages of (number, record), but for those without text, which are counted.

        Args:
            file: where the records are; its language holds for those that give none.
            records: with their line or row numbers.

        Raises:
            ValueError: with file and line, if a field is missing or not text, or an id is empty.
        """
        start = f"{file.path}{file.mark}"
        row_ids = _RowIds(file)
        for number, record in records:
            where = f"{start}{number}"
            self._note_names(record, file, where)
            found, title, text, language = self._plain(record) or self._checked(record, where)
            own_id = row_ids.of(number) if self._is_numbered else found.strip()
            if not own_id:
                raise ValueError(f"{where}: the id is empty")
            self._is_first = False
            if is_blank(title + text):
                at = f"{where}: passage {own_id!r} has no text"
                self.tolerance.allow("passages without title and text, left out", at)
            else:
                yield Passage(own_id, title, text, where, language.strip() or file.code)

    def number_rows(self) -> None:
        """Number all rows, if any may be: they are of files that cannot hold ids."""
        self._is_numbered = self._number_rows and "id" not in self._columns

    def needed(self, names: Sequence[str]) -> list[str]:
        """Return the fields to read of records with these; all if ids or texts are not among them.

        So the errors of records name all fields.
        """
        fields: dict[str, list[str]] = {
            ours: [*_starts(self._columns[ours])] if ours in self._columns else [*known]
            for ours, known in KNOWN_FIELDS.items()
        }
        found = {ours: [name for name in names if name in fields[ours]] for ours in fields}
        has_ids = found["id"] or "id" in self._columns
        return [*itertools.chain(*found.values())] if has_ids and found["text"] else [*names]

    def _note_names(self, record: Record, file: SourceFile, where: str) -> None:
        """Find, once for all records of the same fields, which of them have a known name."""
        names = tuple(record) if isinstance(record, dict) else ()
        if names == self._names:
            return
        self._names = names
        self._known = {
            ours: [name for name in known if name in names] for ours, known in KNOWN_FIELDS.items()
        }
        self._check_ids(file, where)
        self._plain_names = self._first_names(names)

    def _first_names(self, names: Sequence[str]) -> Sequence[str | None] | None:
        """Return the field to look at first for each of ours, None for none.

        None in place of all: a closer look is needed, for a path, or for what is missing.
        """
        first = {
            ours: self._columns[ours] if ours in self._columns else next(iter(known), None)
            for ours, known in self._known.items()
        }
        if self._is_numbered:
            first["id"] = None
        is_plain = {*first.values()} <= {*names, None} and first["text"] is not None
        has_ids = self._is_numbered or first["id"] is not None
        return tuple(first.values()) if is_plain and has_ids else None  # type: ignore[arg-type]

    def _plain(self, record: Any) -> Sequence[str] | None:
        """Return id, title, text and language, "" for none, if a look at four fields gives them."""
        if self._plain_names is None:
            return None
        values = [record.get(name, "") for name in self._plain_names]
        return values if {*map(type, values)} == _TEXT else None

    def _checked(self, record: Record, where: str) -> list[str]:
        """Return what `_plain` does of any record.

        Raises:
            ValueError: if a field is missing or not text.
        """
        return [
            "" if self._is_numbered else self._id(record, where),
            self._optional("title", record, where),
            self._text(record, where),
            self._optional("language", record, where),
        ]

    def _check_ids(self, file: SourceFile, where: str) -> None:
        """Decide by the first record whether rows are numbered, and see that others agree."""
        has_ids = bool(self._known["id"])
        if "id" in self._columns:
            self._is_numbered = self._columns["id"] is None
        elif self._is_numbered and has_ids:
            raise ValueError(
                f"{where}: has an id in {self._known['id'][0]!r}, but the first record of the "
                "corpus had none; give columns={'id': None} to number all rows"
            )
        elif self._is_first and not self._is_numbered and self._number_rows and not has_ids:
            self._is_numbered = True
            logger.warning(
                "%s: has no field %s; ids are made of file and row, such as %r. If another field "
                "holds them, name it with columns={'id': ...}; if none does, give None",
                *(where, _either(KNOWN_FIELDS["id"]), file.row_id(1)),
            )

    def _id(self, record: Record, where: str) -> str:
        found = self._value("id", record, where)
        if found is None:
            raise self._missing("id", record, where)
        return found

    def _text(self, record: Record, where: str) -> str:
        found = self._value("text", record, where)
        if found is None and "text" not in self._columns and not self._known["text"]:
            raise self._missing("text", record, where)
        return found or ""

    def _optional(self, ours: str, record: Record, where: str) -> str:
        """Return what not every record has, "" if it is missing or null."""
        try:
            return self._value(ours, record, where) or ""
        except MissingField as error:
            if self._is_first:  # a wrong name would quietly mean none
                raise
            kind = f"records without the field {self._columns[ours]!r}, read as without {ours}"
            self.tolerance.allow(kind, str(error))
            return ""

    def _value(self, ours: str, record: Record, where: str) -> str | None:
        """Return the text of a field, None if it is null, or none that is known.

        Raises:
            MissingField: a field that the user named is missing.
        """
        if ours in self._columns:
            column = self._columns[ours]
            value = None if column is None else look_up(record, column, where)
            return _as_text(value, str(column), where)
        for name in self._known[ours]:
            value = record[name]  # type: ignore[call-overload]
            if value is not None:
                return _as_text(value, name, where)
        return None

    def _missing(self, ours: str, record: Record, where: str) -> ValueError:
        if ours in self._columns:
            return ValueError(f"{where}: field {self._columns[ours]!r}, the {ours}, is null")
        if not isinstance(record, dict):
            return ValueError(f"{where}: give the position of the {ours} with columns=")
        if self._known[ours]:
            return ValueError(f"{where}: field {self._known[ours][0]!r}, the {ours}, is null")
        wanted = _either(KNOWN_FIELDS[ours])
        # Whoever gives columns may give them otherwise; tasks give none.
        hint = f"; name that of the {ours} with columns={{{ours!r}: ...}}"
        told = hint if self._number_rows else ""
        return ValueError(f"{where}: has no field {wanted}; the fields are {list(record)}{told}")


class _RowIds:
    """Ids of the rows of a file by their lines: "a:1", "a:2"; "a:2.2" for the second of line 2."""

    def __init__(self, file: SourceFile) -> None:
        self._file, self._line, self._count = file, 0, 0

    def of(self, line: int) -> str:
        """Return the id of the next row, which begins on this line."""
        self._count = self._count + 1 if line == self._line else 1
        self._line = line
        of_line = self._file.row_id(line)
        return of_line if self._count == 1 else f"{of_line}.{self._count}"


def _are_positions(columns: PassageColumns) -> bool:
    """Tell whether columns are positions in files without header.

    Raises:
        TypeError: if a column is neither a name, a position nor None.
        ValueError: if names and positions are mixed, or for a column that passages do not have.
    """
    kinds = set()
    for ours, theirs in columns.items():
        if ours not in KNOWN_FIELDS:
            raise ValueError(
                f"columns= maps what a passage has to fields of the corpus; {ours!r} is none of "
                f"{', '.join(KNOWN_FIELDS)}{nearest(ours, KNOWN_FIELDS)}"
            )
        if theirs is None and ours != "text":
            continue
        if type(theirs) not in (str, int):
            hint = "" if ours == "text" else ", or None for no such field"
            raise TypeError(f"columns[{ours!r}] must be a name or a position{hint}, got {theirs!r}")
        kinds.add(type(theirs))
    if len(kinds) > 1:
        raise ValueError(f"columns must be all names or all positions, got {dict(columns)}")
    return int in kinds


def _starts(column: Column | None) -> set[str]:
    """Return the names of the field that a dotted path may start with."""
    return set() if column is None else {str(column), str(column).split(".")[0]}


def _either(names: Sequence[str]) -> str:
    return " or ".join(map(repr, names))


def _as_text(value: Json, name: str, where: str) -> str | None:
    return value if value is None or type(value) is str else field_of({name: value}, (name,), where)
