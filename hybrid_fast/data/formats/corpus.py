"""Texts of a corpus with their ids and languages, read one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.collection import FORMAT_OF_SUFFIX, PASSAGE_READERS, file_passages
from hybrid_fast.data.formats.corpus_files import find_corpus_files
from hybrid_fast.data.formats.corpus_ids import SeenIds
from hybrid_fast.data.formats.files import Paths, SourceFile, short_name
from hybrid_fast.data.formats.lines import plain_suffix
from hybrid_fast.data.formats.passages import (
    Passage,
    PassageColumns,
    PassageMapper,
    check_candidate_text,
    check_passage_columns,
    join_title,
)
from hybrid_fast.data.formats.tolerance import Tolerance
from hybrid_fast.data.languages import normalize_language, warn_of_merged_languages

_ROWS = 1024  # whose ids are checked at once
ReadPassages = Callable[[Tolerance], Iterator[Passage]]


class CorpusText(NamedTuple):
    """A text of a corpus: a passage, with its title before it if it has one."""

    id: str
    language: str
    text: str


class Corpus(Protocol):
    """Texts that can be read again and again, in one order.

    Attributes:
        name: for messages and manifests.
    """

    name: str

    def __iter__(self) -> Iterator[CorpusText]: ...


def open_corpus(
    path: Paths,
    *,
    lang: str | None = None,
    languages: Sequence[str] | Mapping[str, str] | None = None,
    format: str | None = None,
    columns: PassageColumns | None = None,
    candidate_text: str | None = None,
    strict: bool = False,
    keep_variants: bool = False,
) -> Corpus:
    """Open a corpus, which is read as it is iterated over."""
    has_header = not check_passage_columns(columns)
    files = find_corpus_files(path, lang, languages)
    if format is not None:
        check_choice("format", format, list(PASSAGE_READERS))
    read = partial(_read_files, files, format, columns, has_header)
    return PassageCorpus(
        short_name(path),
        read,
        lang=lang,
        candidate_text=check_candidate_text(candidate_text),
        strict=strict,
        keep_variants=keep_variants,
    )


class PassageCorpus:
    """Passages as the texts of a corpus, with languages and ids checked.

    Attributes:
        name: short name of where they are.
    """

    def __init__(
        self,
        name: str,
        read: ReadPassages,
        *,
        lang: str | None,
        candidate_text: str,
        strict: bool,
        keep_variants: bool,
    ) -> None:
        self.name, self._read, self._lang = name, read, lang
        self._candidate_text, self._strict = candidate_text, strict
        self._keep_variants = keep_variants

    def __iter__(self) -> Iterator[CorpusText]:
        """Yield the texts.

        Raises:
            ValueError: with file and line, if a file is malformed, the language of a passage is
                unknown, or an id occurs twice.
        """
        tolerance = Tolerance(self.name, self._strict)
        codes: Counter[str] = Counter()
        seen = SeenIds()
        passages = self._read(tolerance)
        while rows := list(islice(passages, _ROWS)):
            for place in seen.add([passage.id for passage in rows]):
                self._check_repeated(rows[place])
            for passage in rows:
                yield self._text(passage, codes)
        tolerance.report()
        self._warn_of_merged(codes)

    def _text(self, passage: Passage, codes: Counter[str]) -> CorpusText:
        code = passage.language or self._lang
        if code is None:
            raise ValueError(
                f"{passage.where}: the language is unknown; give lang='en', name the field with "
                "columns={'language': ...}, or put {lang} into the path"
            )
        try:
            language = normalize_language(code, self._keep_variants)
        except ValueError as error:
            raise ValueError(f"{passage.where}: {error}") from error
        codes[code] += 1
        title, text = passage.title.strip(), passage.text.strip()
        return CorpusText(passage.id, language, join_title(title, text, self._candidate_text))

    def _check_repeated(self, passage: Passage) -> None:
        """Raise a ValueError with both places if an id was read before that of this passage."""
        for other in self._read(Tolerance(self.name)):
            if other.where == passage.where:
                return
            if other.id == passage.id:
                raise ValueError(
                    f"{passage.where}: the id {passage.id!r} is also that of {other.where}; ids "
                    "must differ"
                )

    def _warn_of_merged(self, codes: Counter[str]) -> None:
        by_language: dict[str, Counter[str]] = {}
        for code, count in codes.items():
            name = normalize_language(code, self._keep_variants)
            by_language.setdefault(name, Counter())[code] += count
        if not self._keep_variants:
            warn_of_merged_languages(self.name, by_language)


def _read_files(
    files: Sequence[SourceFile],
    format: str | None,
    columns: PassageColumns | None,
    has_header: bool,
    tolerance: Tolerance,
) -> Iterator[Passage]:
    for file in files:
        mapper = PassageMapper(file, tolerance, columns, number_rows=True)
        yield from file_passages(mapper, format or _format_of(file), has_header)


def _format_of(file: SourceFile) -> str:
    format = FORMAT_OF_SUFFIX.get(plain_suffix(file.path))
    if format is None:
        raise ValueError(
            f"cannot tell the format of {file.path} by its name; give format=, one of "
            f"{', '.join(PASSAGE_READERS)}"
        )
    return format
