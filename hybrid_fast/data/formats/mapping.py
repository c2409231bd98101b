"""From records to items: which field becomes which column, with checks of all values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hybrid_fast.common.choices import check_choice, nearest
from hybrid_fast.data.columns import SCHEMA
from hybrid_fast.data.formats.files import Json, SourceFile
from hybrid_fast.data.formats.items import (
    Item,
    OnEmpty,
    check_text,
    is_blank,
    report_skipped,
)
from hybrid_fast.data.formats.records import Record
from hybrid_fast.data.languages import normalize_language

ROW_RULES = ("@line", "@row")
Columns = Mapping[str, Any]


def uses_positions(columns: Columns | None) -> bool:
    """Tell whether columns are given by position, which means that the file has no header.

    Raises:
        ValueError: if names and positions are mixed, or for a column that the table does not have.
    """
    theirs = []
    for ours, column in (columns or {}).items():
        if ours not in SCHEMA.names:
            raise ValueError(
                f"columns= maps our columns to those of the file; {ours!r} is not one of ours, "
                f"which are {SCHEMA.names}{nearest(ours, SCHEMA.names)}"
            )
        if type(column) not in (str, int):
            raise TypeError(f"columns[{ours!r}] must be a name or a position, got {column!r}")
        if column not in ROW_RULES:
            theirs.append(isinstance(column, int))
    if any(theirs) and not all(theirs):
        raise ValueError(f"columns must be all names or all positions, got {dict(columns or {})}")
    return any(theirs)


class RecordMapper:
    """Turns the records of one file or data set into items.

    Attributes:
        num_records: number of records read so far.
        group_column: the column of group ids, known after the first record.
    """

    def __init__(
        self,
        file: SourceFile,
        *,
        columns: Columns | None,
        group_pattern: str | None,
        on_empty: OnEmpty,
    ) -> None:
        check_choice("on_empty", on_empty, ("error", "skip"))
        self.file, self.columns, self.on_empty = file, columns, on_empty
        self.group_pattern = _compile(group_pattern)
        self.group_column: str | int = "@row"
        self.num_records = 0

    def items(self, records: Iterator[tuple[int, Record]]) -> Iterator[Item]:
        """Yield an item for each (number, record); ValueError with file, line and field."""
        num_skipped = 0
        for number, record in records:
            columns = self._columns_of(record)
            if not self.num_records:
                self._check_columns(columns, record)
            self.num_records += 1
            item = self._item(record, columns, number)
            if item is None:
                num_skipped += 1
            else:
                yield item
        report_skipped(self.file.path, num_skipped, "rows with an empty text")

    def _columns_of(self, record: Record) -> Columns:
        if self.columns is not None:
            return self.columns
        return {name: name for name in SCHEMA.names if name in record}

    def _check_columns(self, columns: Columns, record: Record) -> None:
        """Check, on the first record, that there are texts, a language and group ids."""
        if not {"query", "passage"} & set(columns):
            known = list(record) if isinstance(record, dict) else f"{len(record)} without names"
            raise ValueError(
                f"{self.file.path}: missing column 'query' or 'passage'; map them with columns=; "
                f"the file has {known}"
            )
        if self.file.lang is None and "lang" not in columns:
            raise ValueError(
                f"{self.file.path}: the language is unknown; give lang='en', a column 'lang' or "
                "{lang} in the path"
            )
        if self.file.name and "group_id" not in columns:
            raise ValueError(
                f"{self.file.path}: needs a group id: columns={{'group_id': '@line'}} if line n of "
                "every file is a translation of line n of the others, '@row' if nothing is "
                "parallel, else the column that translations share"
            )
        self.group_column = columns.get("group_id", "@row")

    def _item(self, record: Record, columns: Columns, number: int) -> Item | None:
        """Return the item of a record, or None if it is left out."""
        where = f"{self.file.path}:{number}"
        values: dict[str, Any] = {"lang": self.file.lang} if self.file.lang else {}
        for ours, theirs in columns.items():
            if ours == "group_id" or ours in values:
                continue
            value = look_up(record, theirs, where)
            if value is None:
                continue
            if self.on_empty == "skip" and ours in ("query", "passage") and is_blank(value):
                return None
            values[ours] = _CHECKS.get(ours, check_text)(value, where, str(theirs))
        if "lang" not in values:
            raise ValueError(f"{where}: field 'lang' is missing or null")
        if "query" not in values and "passage" not in values:
            raise ValueError(f"{where}: has neither a query nor a passage")
        return Item(self._group_id(record, number, where), **values)

    def _group_id(self, record: Record, number: int, where: str) -> str:
        column = self.group_column
        if column == "@line":
            return self.file.line_id(number)
        if column == "@row":
            return self.file.row_id(number)
        group_id = _check_id(look_up(record, column, where), where, str(column))
        if self.group_pattern is None:
            return group_id
        match = self.group_pattern.search(group_id)
        if match is None:
            raise ValueError(
                f"{where}: field {column!r}: {group_id!r} does not match the group_pattern "
                f"{self.group_pattern.pattern!r}"
            )
        return match[1]


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"group_pattern {pattern!r} is not a regular expression: {error}"
        ) from error
    if not compiled.groups:
        raise ValueError(f"group_pattern {pattern!r} needs the id in parentheses, as in '^(.+)_'")
    return compiled


def look_up(record: Record, column: str | int, where: str) -> Json:
    """Return the value at a name, dotted path or position."""
    if isinstance(column, int):
        if not isinstance(record, list):
            raise ValueError(f"{where}: fields have names here, {column} is a position; use a name")
        if not 0 <= column < len(record):
            raise ValueError(f"{where}: has no field {column}, only 0 to {len(record) - 1}")
        return record[column]
    if isinstance(record, dict) and column in record:
        return record[column]
    value: Json = record
    for step in column.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            known = f"; the row has {list(record)}" if value is record else ""
            raise ValueError(f"{where}: field {column!r} is missing{known}")
    return value


def _check_id(value: object, where: str, field: str) -> str:
    return check_text(str(value) if type(value) is int else value, where, field)


def _check_language(value: object, where: str, field: str) -> str:
    code = check_text(value, where, field)
    try:
        normalize_language(code)
    except ValueError as error:
        raise ValueError(f"{where}: field {field!r}: {error}") from error
    return code


def _check_title(value: object, where: str, field: str) -> str | None:
    return None if is_blank(value) else check_text(value, where, field)


def _check_texts(value: object, where: str, field: str) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: field {field!r} must be a list of texts, got {value!r}")
    return [check_text(text, where, field) for text in value]


_CHECKS: dict[str, Callable[[object, str, str], Any]] = {
    "passage_id": _check_id,
    "lang": _check_language,
    "title": _check_title,
    "negatives": _check_texts,
    "kinds": _check_texts,
}
