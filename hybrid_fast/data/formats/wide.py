"""Records that hold several languages: a column for each, or a field of texts by language.

`columns={"query": {"en": "english", "de": "german"}}` names a column for each language. A field
such as `translation: {"en": ..., "de": ...}`, or of two lists `language` and `translation`, is
named as it is, and tells its languages. A record becomes an item for each language, all of one
group.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, cast

from hybrid_fast.data.formats.fields import Columns, MissingField, look_up
from hybrid_fast.data.formats.items import Item
from hybrid_fast.data.formats.mapping import RecordMapper
from hybrid_fast.data.formats.records import Record
from hybrid_fast.data.languages import common_spelling, language_named, normalize_language

logger = logging.getLogger(__name__)

_TEXTS = {"query", "passage"}
_OWN_LANGUAGE = ("query", "passage", "title", "negatives")  # in some language, be it named or not
_BY_LANGUAGE = (*_OWN_LANGUAGE, "passage_id")
_OF_LISTS = {"language", "translation"}  # TranslationVariableLanguages of `datasets`


def plain_columns(columns: Mapping[str, Any] | None) -> list[Columns]:
    """Return the columns that are not by language, then, one by one, those that are.

    Raises:
        ValueError: for a column that cannot be by language, or a language that is none.
    """
    plain, by_language = {}, []
    for ours, theirs in (columns or {}).items():
        if not isinstance(theirs, Mapping):
            plain[ours] = theirs
            continue
        if ours not in _BY_LANGUAGE or not theirs:
            raise ValueError(
                f"columns[{ours!r}] is {dict(theirs)!r}; columns by language, as in "
                f"{{'en': 'english', 'de': 'german'}}, can be given for {', '.join(_BY_LANGUAGE)}"
            )
        for code, column in theirs.items():
            try:
                normalize_language(code)
            except (TypeError, ValueError) as error:
                raise ValueError(f"columns[{ours!r}]: {error}") from error
            by_language.append({ours: column})
    return [cast(Columns, plain), *by_language]


class WideMapper(RecordMapper):
    """Turns the records of a file or data set into items, one for each language of a record.

    A text column that is not by language is in the language of the file or of the column "lang".
    Ids of groups and passages, sources, kinds and in_batch hold for all items of a record.
    """

    def items(self, records: Iterator[tuple[int, Record]]) -> Iterator[Item]:
        """Yield the items of each (number, record); ValueError with file, line and field."""
        first = next(records, None)
        if first is None:
            return
        given = self._by_language(self._columns_of(first[1]), first[1])
        records = chain([first], records)
        is_wide = any(isinstance(theirs, Mapping) for theirs in given.values())
        self._warn_of_named_columns(given)
        yield from super().items(self._each_language(records) if is_wide else records)

    def _warn_of_named_columns(self, columns: Mapping[str, Any]) -> None:
        """Log which text is read as of one language from a column that is named for another."""
        lang = self.file.lang
        for ours in sorted(_TEXTS):
            column = columns.get(ours)
            named = language_named(column) if isinstance(column, str) else None
            if lang and named and normalize_language(named) != normalize_language(lang):
                logger.warning(
                    "%s: the %s column %r is read as %r; if it is %r, give columns={%r: {%r: %r}}",
                    *(self.file.path, ours, column, lang, named, ours, named, column),
                )

    def _each_language(self, records: Iterator[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
        """Yield a record once for each of its languages, with `columns` and `file` set to it.

        Raises:
            ValueError: if the path gives the language too, a record has no text in any language,
                or no record has a column.
        """
        file, columns = self.file, self.columns
        if file.name:
            raise ValueError(
                f"{file.path}: the path and the columns both give languages; leave out one of them"
            )
        found: set[str] = set()
        missed: dict[str, ValueError] = {}
        for number, record in records:
            given = self._by_language(columns or self._columns_of(record), record)
            where = file.place(number)
            texts = self._texts_by_language(given, record, where, missed)
            if not texts:
                unknown = next((each for c, each in missed.items() if c not in found), None)
                raise unknown or ValueError(f"{where}: has no query or passage in any language")
            for lang, of_language in texts.items():
                found.update(map(str, of_language.values()))
                self.file, self.columns = file._replace(lang=lang), of_language
                yield number, record
            self.file, self.columns = file, columns
        for column, error in missed.items():
            if column not in found:
                raise ValueError(f"{error}; no row has it")

    def _by_language(self, columns: Columns, record: Record) -> dict[str, Any]:
        """Return columns, those whose field tells its languages as columns by language."""
        return {
            ours: _languages_of_field(theirs, record) if ours in _BY_LANGUAGE else theirs
            for ours, theirs in columns.items()
        }

    def _texts_by_language(
        self, columns: dict[str, Any], record: Record, where: str, missed: dict[str, ValueError]
    ) -> dict[str, Columns]:
        """Return the columns of each language in which a record has a query or a passage."""
        by_language = {ours: each for ours, each in columns.items() if isinstance(each, Mapping)}
        own = [ours for ours in columns if ours in _OWN_LANGUAGE and ours not in by_language]
        if own:
            lang = self._own_language(columns, record, where, own[0])
            by_language |= {ours: {lang: columns[ours]} for ours in own}
        shared = {
            ours: each
            for ours, each in columns.items()
            if ours not in by_language and ours != "lang"
        }
        spelt: dict[str, str] = {}  # each code as it was given first
        texts: dict[str, dict[str, Any]] = {}
        for ours, of_code in by_language.items():
            for code, column in of_code.items():
                lang = spelt.setdefault(common_spelling(code), code)
                several = column if isinstance(column, list | tuple) else [column]
                try:
                    if all(look_up(record, each, where) is None for each in several):
                        continue
                except MissingField as error:
                    missed.setdefault(str(column), error)
                    continue
                if ours in texts.setdefault(lang, {}):
                    raise ValueError(f"{where}: two columns are {ours!r} in {lang!r}: {of_code}")
                texts[lang][ours] = column
        return {lang: shared | given for lang, given in texts.items() if given.keys() & _TEXTS}

    def _own_language(
        self, columns: Mapping[str, Any], record: Record, where: str, ours: str
    ) -> str:
        """Return the language of the columns that are not by language."""
        if self.file.lang is not None:
            return self.file.lang
        if "lang" not in columns:
            raise ValueError(
                f"{self.file.path}: the language of the column {columns[ours]!r} is unknown; name "
                f"it, as in columns={{{ours!r}: {{'en': {columns[ours]!r}}}}}, or give lang="
            )
        return str(look_up(record, columns["lang"], where))


def _languages_of_field(column: Any, record: Record) -> Any:
    """Return columns by language if the field of a column tells its languages, else the column."""
    if not isinstance(column, str) or not isinstance(record, dict):
        return column
    try:
        value = look_up(record, column, "")
    except ValueError:
        return column
    if not isinstance(value, dict) or not value:
        return column
    if set(value) == _OF_LISTS and isinstance(value["language"], list):
        languages = value["language"]
        return {code: f"{column}.translation.{n}" for n, code in enumerate(languages)} or column
    return {code: f"{column}.{code}" for code in value} if all(map(_is_code, value)) else column


def _is_code(name: str) -> bool:
    try:
        return bool(normalize_language(name))
    except ValueError:
        return False
