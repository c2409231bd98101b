"""From records to items: which field becomes which column, with checks of all values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import cast

from hybrid_fast.common.choices import check_choice, nearest
from hybrid_fast.data.columns import ON_MISSING_TITLE, SCHEMA, OnMissingTitle
from hybrid_fast.data.formats.fields import (
    Column,
    Columns,
    MissingField,
    Passage,
    Row,
    check_flag,
    check_id,
    check_language,
    check_score,
    check_scores,
    check_texts,
    check_title,
    look_up,
    one_each,
    passages_of,
    written_list,
)
from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import Item, OnEmpty, check_text, report_skipped
from hybrid_fast.data.formats.json_text import Json
from hybrid_fast.data.formats.records import Record

_NO_TEXT = [(None, None, None)]
ROW_RULES = ("@line", "@row")
# Columns of well-known data sets, for the message when ours are not found.
_KNOWN_SHAPES = (
    {"query": "anchor", "passage": "positive", "negatives": "negative"},
    {"query": "query", "passage": "pos", "negatives": "neg"},
    {"query": "query", "passage": "positive_passages", "negatives": "negative_passages"},
)


def uses_positions(columns: Columns | None) -> bool:
    """Tell whether columns are given by position, which means that the file has no header.

    Raises:
        TypeError: if a column is neither a name nor a position.
        ValueError: if names and positions are mixed, or for a column that the table does not have.
    """
    theirs: list[bool] = []
    for ours, given in (columns or {}).items():
        if ours not in SCHEMA.names:
            raise ValueError(
                f"columns= maps our columns to those of the file; {ours!r} is not one of ours, "
                f"which are {SCHEMA.names}{nearest(ours, SCHEMA.names)}"
            )
        several = isinstance(given, list | tuple) and ours == "negatives" and len(given) > 0
        for column in given if several else [given]:  # type: ignore[union-attr]
            if type(column) not in (str, int):
                instead = " or a list of these" if ours == "negatives" else ""
                raise TypeError(
                    f"columns[{ours!r}] must be a name or a position{instead}, got {given!r}"
                )
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
        on_missing_title: OnMissingTitle,
    ) -> None:
        check_choice("on_empty", on_empty, ("error", "skip"))
        check_choice("on_missing_title", on_missing_title, ON_MISSING_TITLE)
        self.file, self.columns, self.on_empty = file, columns, on_empty
        self.on_missing_title = on_missing_title
        self.group_pattern = _compile(group_pattern)
        self.group_column: Column = "@row"
        self.num_records = 0
        self._skipped: Counter[str] = Counter()
        self._titled: Counter[str] = Counter()  # of rows with hard negatives
        self._found: set[Column] = set()
        self._missed: dict[Column, MissingField] = {}
        self._names: tuple[str, ...] | None = None
        self._known: Columns = {}

    def items(self, records: Iterator[tuple[int, Record]]) -> Iterator[Item]:
        """Yield the items of each (number, record); ValueError with file, line and field."""
        for number, record in records:
            columns = self._columns_of(record)
            if not self.num_records:
                self._check_columns(columns, record)
            self.num_records += 1
            yield from self._items(Row(record, columns, self.file.place(number)), number)
        for kind, count in self._skipped.items():
            report_skipped(self.file.path, count, kind)
        if self.on_missing_title == "error":
            self._check_titles()
        for column, error in self._missed.items():
            if column not in self._found:  # a wrong name would quietly mean none
                raise ValueError(f"{error}; no row has it: correct it, or leave it out of columns=")

    def _columns_of(self, record: Record) -> Columns:
        if self.columns is not None:
            return self.columns
        names = tuple(record)
        if names != self._names:  # those of most records are those of the last one
            self._names, self._known = names, {name: name for name in SCHEMA.names if name in names}
        return self._known

    def _check_columns(self, columns: Columns, record: Record) -> None:
        """Check, on the first record, that there are texts, a language and group ids."""
        missing = [side for side in ("query", "passage") if side not in columns]
        shape = _known_shape(record) if self.columns is None else ""
        if len(missing) == 2 or (missing and shape):
            known = list(record) if isinstance(record, dict) else f"{len(record)} without names"
            raise ValueError(
                f"{self.file.path}: missing column {' or '.join(map(repr, missing))}; map it with "
                f"columns=; the file has {known}{shape}"
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
        self.group_column = cast(Column, columns.get("group_id", "@row"))

    def _items(self, row: Row, number: int) -> list[Item]:
        """Return an item for each query and passage of a row; none if it is left out."""
        queries = self._not_blank(row, "query", row.passages("query"))
        passages = self._not_blank(row, "passage", self._named(row, row.passages("passage")))
        if queries is None or passages is None:
            self._skipped["rows with an empty text"] += 1
            return []
        if not queries and not passages:
            raise ValueError(f"{row.where}: has neither a query nor a passage")
        if len(queries) > 1 and len(passages) > 1:
            raise ValueError(
                f"{row.where}: has {len(queries)} queries and {len(passages)} passages, and does "
                "not say which belong together; alternatives can stand on one side"
            )
        lang = self.file.lang or row.checked("lang", check_language)
        if lang is None:
            raise ValueError(f"{row.where}: field 'lang' is missing or null")
        if self.on_missing_title == "drop":
            passages = [passage._replace(title=None) for passage in passages]
        negatives = self._negatives(row, passages) if "negatives" in row.columns else None
        source, kinds = row.checked("source", check_text), row.checked("kinds", check_texts)
        extras = (
            self._in_batch(row),
            row.checked("negative_scores", check_scores),
            row.checked("positive_score", check_score),
        )
        group_id = self._group_id(row, number)
        return [
            Item(group_id, lang, query, text, passage_id, title, negatives, source, kinds, *extras)
            for query, _, _ in queries or _NO_TEXT
            for text, title, passage_id in passages or _NO_TEXT
        ]

    def _in_batch(self, row: Row) -> bool | None:
        value = self._optional(row, "in_batch")
        return None if value is None else check_flag(value, row.where, row.field("in_batch"))

    def _not_blank(self, row: Row, name: str, given: list[Passage]) -> list[Passage] | None:
        """Return the texts that are not blank; None if there are only blank ones, to be left out.

        Raises:
            ValueError: if one is blank, and on_empty is "error".
        """
        kept = [each for each in given if each.text and not each.text.isspace()]
        if len(kept) < len(given) and self.on_empty == "error":
            check_text("", row.where, row.field(name))
        return kept if kept or not given else None

    def _named(self, row: Row, passages: list[Passage]) -> list[Passage]:
        """Return passages with the titles and ids that columns of their own give them."""
        if passages and "title" in row.columns:
            titles = one_each(row, "title", self._optional(row, "title"), len(passages))
            field = row.field("title")
            passages = [
                passage._replace(title=check_title(title, row.where, field) or passage.title)
                for passage, title in zip(passages, titles, strict=True)
            ]
        if "passage_id" in row.columns and not passages:
            row.checked("passage_id", check_id)
        elif "passage_id" in row.columns:
            ids = one_each(row, "passage_id", row.value("passage_id"), len(passages))
            passages = [
                passage
                if given is None
                else passage._replace(id=check_id(given, row.where, row.field("passage_id")))
                for passage, given in zip(passages, ids, strict=True)
            ]
        return passages

    def _negatives(self, row: Row, passages: list[Passage]) -> list[str] | None:
        """Return the texts of the hard negatives, after their titles if passages have theirs."""
        is_titled = self.on_missing_title != "drop" and (
            "title" in row.columns or any(passage.title for passage in passages)
        )
        values = self._optional(row, "negatives")
        if values is None:
            return None
        if not isinstance(values, list) or isinstance(row.columns["negatives"], list | tuple):
            several = values if isinstance(values, list) else [values]
            # An empty cell of a table is a missing text; an empty text of a list is a fault.
            values = [written_list(each) for each in several if each is not None and each != ""]
            if not values:
                return None
        negatives = passages_of(values, row.where, row.field("negatives"))
        kept = [each for each in negatives if each.text and not each.text.isspace()]
        if len(kept) < len(negatives):
            self._skipped["hard negatives that are empty"] += len(negatives) - len(kept)
        if len(kept) < len(negatives) and self.on_empty == "error":
            raise ValueError(
                f"{row.where}: field {row.field('negatives')!r} is empty in one of its texts; "
                "on_empty='skip' leaves such texts out"
            )
        if kept:
            self._titled["rows"] += 1
        if not is_titled:
            return [each.text for each in kept]
        self._titled["passages"] += bool(kept) and sum(each.title is not None for each in passages)
        self._titled["hard negatives"] += sum(each.title is not None for each in kept)
        return [each.titled_text for each in kept]

    def _check_titles(self) -> None:
        """Raise ValueError if titles tell passages from hard negatives."""
        sides = [side for side in ("passages", "hard negatives") if self._titled[side]]
        if self._titled["rows"] and len(sides) == 1:
            other = "hard negatives" if sides == ["passages"] else "passages"
            raise ValueError(
                f"{self.file.path}: {self._titled[sides[0]]:,} {sides[0]} have a title and no "
                f"{other} have one, which gives the answer away; give on_missing_title='drop' to "
                "read texts without titles, or 'allow'"
            )

    def _optional(self, row: Row, name: str) -> Json:
        """Return the value of a column that some rows may lack; a list if it is several columns."""
        if name not in row.columns:
            return None
        given = row.columns[name]
        if isinstance(given, list | tuple):
            return [self._tried(row, column) for column in given]
        return self._tried(row, cast(Column, given))

    def _tried(self, row: Row, column: Column) -> Json:
        """Return the value of a field, None if the record lacks it, which is remembered."""
        try:
            value = look_up(row.record, column, row.where)
        except MissingField as error:
            self._missed.setdefault(column, error)
            return None
        self._found.add(column)
        return value

    def _group_id(self, row: Row, number: int) -> str:
        column = self.group_column
        if column == "@line":
            return self.file.line_id(number)
        if column == "@row" and self.columns is None and "group_id" in row.columns:
            raise ValueError(
                f"{row.where}: has a group_id, which the first row lacks; give all one"
            )
        if column == "@row":
            return self.file.row_id(number)
        group_id = check_id(look_up(row.record, column, row.where), row.where, str(column))
        if self.group_pattern is None:
            return group_id
        match = self.group_pattern.search(group_id)
        if match is None:
            raise ValueError(
                f"{row.where}: field {column!r}: {group_id!r} does not match the group_pattern "
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


def _known_shape(record: Record) -> str:
    """Return the columns= of a well-known data set whose fields a record has, as a hint."""
    if not isinstance(record, dict):
        return ""
    for shape in _KNOWN_SHAPES:
        if {shape["query"], shape["passage"]} <= set(record):
            columns = {ours: theirs for ours, theirs in shape.items() if theirs in record}
            return f"; try columns={columns}"
    return ""
