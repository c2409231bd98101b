"""Fields of records: looked up by name, dotted path or position, and checked."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from hybrid_fast.data.formats.items import check_text, is_blank
from hybrid_fast.data.formats.json_text import Json
from hybrid_fast.data.formats.records import Record
from hybrid_fast.data.languages import normalize_language

Column = str | int
Columns = Mapping[str, Column | Sequence[Column]]
Checked = TypeVar("Checked")
# Fields of the records in which passages are kept, by preference: Tevatron, Mr. TyDi, BEIR, MIRACL.
TEXT_FIELDS = ("text", "contents", "passage", "body", "content", "sentence")
ID_FIELDS = ("docid", "_id", "id", "doc_id", "corpus-id", "corpus_id", "pid", "passage_id")


class MissingField(ValueError):
    """A record lacks a field."""


class Passage(NamedTuple):
    """A text with the title and the id that a record gives it; None where it gives none."""

    text: str
    title: str | None = None
    id: str | None = None

    @property
    def titled_text(self) -> str:
        """The text after its title, as tables join them."""
        return f"{self.title} {self.text}" if self.title else self.text


class Row(NamedTuple):
    """A record, what its fields mean, and where it was read (for messages)."""

    record: Record
    columns: Columns
    where: str

    def field(self, name: str) -> str:
        """Return the name that the file has for a column, for messages."""
        return str(self.columns[name])

    def value(self, name: str) -> Json:
        """Return the value of a column; None if it is null or there is no such column."""
        column = self.columns.get(name)
        return None if column is None else look_up(self.record, column, self.where)  # type: ignore[arg-type]

    def checked(self, name: str, check: Callable[[object, str, str], Checked]) -> Checked | None:
        """Return the checked value of a column, None if it has none."""
        value = self.value(name) if name in self.columns else None
        return None if value is None else check(value, self.where, self.field(name))

    def passages(self, name: str) -> list[Passage]:
        """Return the texts of a column, which may be blank; none if it has no value."""
        value = self.value(name)
        if type(value) is str:
            return [Passage(value)]
        if value is None:
            return []
        if not isinstance(value, list | dict):
            return [_passage(value, self.where, self.field(name))]
        return passages_of(value, self.where, self.field(name)) or [Passage("")]


def one_each(row: Row, name: str, value: Json, count: int) -> list[Json]:
    """Return a value for each of some passages: those of a list, or the same for all.

    Raises:
        ValueError: if it is a list of another length.
    """
    values = value if isinstance(value, list) else [value] * count
    if len(values) != count:
        raise ValueError(
            f"{row.where}: field {row.field(name)!r} has {len(values)} values, but there are "
            f"{count} passages; one for each is needed"
        )
    return values


def look_up(record: Record, column: Column, where: str) -> Json:
    """Return the value at a name, dotted path or position.

    A path through a list gives the list of what it finds in each element, one through null gives
    null; the first of an empty list is an empty text.

    Raises:
        MissingField: if there is none.
    """
    if isinstance(record, dict) and column in record:
        return record[column]
    if isinstance(column, int):
        if not isinstance(record, list):
            raise ValueError(f"{where}: fields have names here, {column} is a position; use a name")
        if not 0 <= column < len(record):
            raise ValueError(f"{where}: has no field {column}, only 0 to {len(record) - 1}")
        return record[column]
    try:
        return _follow(record, column.split("."))
    except LookupError:
        has_start = isinstance(record, dict) and column.split(".")[0] in record
        known = "" if has_start else f"; the row has {list(record)}"
        raise MissingField(f"{where}: field {column!r} is missing{known}") from None


def field_of(record: Mapping[str, Json], names: Sequence[str], where: str) -> str:
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


def text_of(record: Mapping[str, Json], names: Sequence[str], where: str) -> str:
    """Return a text as `field_of` does; an empty one if the fields that the record has are null."""
    is_null = all(record.get(name) is None for name in names)
    is_known = any(name in record for name in names)
    return "" if is_null and is_known else field_of(record, names, where)


def id_of(record: Mapping[str, Json], names: Sequence[str], where: str) -> str:
    """Return an id as `field_of` does, without white space around it."""
    return field_of(record, names, where).strip()


def _follow(value: Json, steps: Sequence[str]) -> Json:
    """Return what a path leads to; LookupError if there is nothing."""
    if not steps or value is None:
        return value
    step, *rest = steps
    if isinstance(value, dict):
        return _follow(value[step], rest)
    if isinstance(value, list) and step.isdecimal():
        return _follow(value[int(step)], rest) if value else ""
    if isinstance(value, list):
        return [_follow(each, rest if step == "*" else steps) for each in value]
    raise LookupError(step)


def passages_of(value: Json, where: str, field: str) -> list[Passage]:
    """Return the passages of a text, a record with a text, or a list of these.

    Texts may be blank.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(value, list):
        passages = []
        for one in value:
            if type(one) is str:
                passages.append(Passage(one))
            else:
                passages += passages_of(one, where, field)
        return passages
    if not isinstance(value, dict):
        return [_passage(value, where, field)]
    name = next((name for name in TEXT_FIELDS if name in value), None)
    if name is None:
        needed = " or ".join(map(repr, TEXT_FIELDS))
        raise ValueError(
            f"{where}: field {field!r} has a record without {needed}; it has {list(value)}"
        )
    found = next((value[each] for each in ID_FIELDS if value.get(each) is not None), None)
    title = check_title(value.get("title"), where, f"{field}.title")
    passage = _passage("" if value[name] is None else value[name], where, f"{field}.{name}")
    return [passage._replace(title=title, id=found if found is None else str(found))]


def _passage(value: object, where: str, field: str) -> Passage:
    """Return a text that may be blank; ValueError if it is no text."""
    return Passage(value if isinstance(value, str) else check_text(value, where, field))


def written_list(value: Json) -> Json:
    """Return the list that a text of a CSV file writes out, as JSON or Python, else the value."""
    text = value.strip() if isinstance(value, str) else ""
    if not (text.startswith("[") and text.endswith("]")):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return found
    return value


def check_id(value: object, where: str, field: str) -> str:
    """Return an id; whole numbers become text."""
    return check_text(str(value) if type(value) is int else value, where, field)


def check_language(value: object, where: str, field: str) -> str:
    """Return the code of a language as it is given."""
    code = check_text(value, where, field)
    try:
        normalize_language(code)
    except ValueError as error:
        raise ValueError(f"{where}: field {field!r}: {error}") from error
    return code


def check_title(value: object, where: str, field: str) -> str | None:
    """Return a title, None if it is missing or blank."""
    return None if value is None or is_blank(value) else check_text(value, where, field)


def check_flag(value: object, where: str, field: str) -> bool | None:
    """Return a boolean, which CSV files hold as the text true or false; None if that is blank."""
    if isinstance(value, bool):
        return value
    if is_blank(value):
        return None
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError(f"{where}: field {field!r} must be true or false, got {value!r}")


def check_texts(value: object, where: str, field: str) -> list[str]:
    """Return a list of texts."""
    if not isinstance(value, list):
        raise ValueError(f"{where}: field {field!r} must be a list of texts, got {value!r}")
    return [check_text(text, where, field) for text in value]


def check_score(value: object, where: str, field: str) -> float | None:
    """Return a number, which CSV files hold as text; None if that is blank."""
    if is_blank(value):
        return None
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{where}: field {field!r} must be a number, got {value!r}")


def check_scores(value: object, where: str, field: str) -> list[float | None] | None:
    """Return a list of numbers, some of them null, which CSV files hold as JSON; None if blank."""
    if is_blank(value):
        return None
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, list):
        raise ValueError(f"{where}: field {field!r} must be a list of numbers, got {value!r}")
    return [each if each is None else check_score(each, where, field) for each in value]
