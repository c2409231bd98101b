"""Texts of a corpus with their ids and languages, read one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, Protocol

from hybrid_fast.data.formats.corpus_files import Languages
from hybrid_fast.data.formats.corpus_ids import SeenIds
from hybrid_fast.data.formats.corpus_size import estimate_rows
from hybrid_fast.data.formats.corpus_sources import CorpusSource, find_source
from hybrid_fast.data.formats.files import Paths
from hybrid_fast.data.formats.lines import DAMAGE
from hybrid_fast.data.formats.memory import is_path_like
from hybrid_fast.data.formats.passages import (
    PassageColumns,
    PassageMapper,
    check_candidate_text,
    join_title,
)
from hybrid_fast.data.formats.tolerance import Tolerance
from hybrid_fast.data.languages import normalize_language, warn_of_merged_languages

# Texts are checked together until there are so many, or they are so long.
_ROWS = 512
_CHARACTERS = 2**22


class CorpusText(NamedTuple):
    """A text of a corpus: a passage, with its title before it if it has one."""

    id: str
    language: str
    text: str


Located = tuple[str, CorpusText]  # a text after its place, for messages


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
    languages: Languages = None,
    format: str | None = None,
    config: str | None = None,
    split: str | None = None,
    columns: PassageColumns | None = None,
    candidate_text: str | None = None,
    language_in_ids: bool | None = None,
    check_ids: bool = True,
    strict: bool = False,
    keep_variants: bool = False,
) -> Corpus:
    """Open a corpus, whose passages are read while it is iterated over, a thousand at a time.

    Args:
        path: Files: one; a pattern with wildcards, with "{lang}" for the language, or both; a list
            of these. They are JSON Lines, JSON, CSV, TSV (id, text and title as in DPR, or with a
            header), Parquet, SGML of TREC, or text (a passage a line), plain or compressed.
            A folder: of BEIR, MIRACL, Mr. TyDi or TREC (`corpus.<language>.*`), one of files of one
            format, or what `save_to_disk` of the `datasets` library wrote.
            The name of a data set on the hub, which is read as a stream, or fetched if it is
            "miracl/miracl-corpus" or "castorini/mr-tydi-corpus".
        lang: the language of passages whose record has none (`lang`, `language` ...), unless the
            path gives it; of folders with files for each language, the one to read.
        languages: which languages to read where the path gives them: what "{lang}" stands for, or a
            mapping from that to codes; codes for a folder. Default: all.
        format: one of `FORMATS`, or "hub" for what `datasets` reads; default by file names.
        config: the configuration of a data set on the hub.
        split: the split of a data set; default the only one.
        columns: {"id", "text", "title", "language": the field that has it}, each a name, a dotted
            path, or a position in CSV and TSV without header; None where there is no such field.
            Default: names that are in use, such as `_id`, `docid`, `text`, `contents`.
        candidate_text: "title+text" (default), joined by a space, or "text"; a passage without a
            text is represented by its title either way.
        language_in_ids: make ids such as "sw:12", unique where every language numbers its passages;
            default for MIRACL and Mr. TyDi in several languages, as evaluation does.
        check_ids: find ids that occur twice, with 8 bytes of memory a passage, 24 at times.
        strict: what is let pass with a warning that counts it is an error: passages without title
            and text, which are left out, and empty lines.
        keep_variants: keep script, region and variants of language codes.

    Raises:
        FileNotFoundError: there is no such file, folder or data set, or the hub cannot be reached.
        TypeError: the path is none, or `columns` are neither names nor positions.
        ValueError: an option is unknown or does not go with the path. While reading, with file and
            line: a file is malformed, a field is missing or not text, an id is empty or occurs
            twice, or a language is unknown.
    """
    if not is_path_like(path) and path != []:
        raise TypeError(f"a corpus is a path, a list of paths or a hub name, got {path!r}")
    if isinstance(languages, str):
        raise ValueError(f"languages must be a list of codes, got {languages!r}; lang= takes one")
    if lang is not None:
        normalize_language(lang)
    PassageMapper(Tolerance(path), columns)  # which checks them
    source = find_source(
        path, lang=lang, languages=languages, format=format, config=config, split=split
    )
    return PassageCorpus(
        source,
        columns=columns,
        candidate_text=check_candidate_text(candidate_text),
        language_in_ids=source.ids_repeat if language_in_ids is None else language_in_ids,
        check_ids=check_ids,
        strict=strict,
        keep_variants=keep_variants,
    )


class PassageCorpus:
    """Passages as the texts of a corpus, with languages and ids checked; see `open_corpus`.

    Attributes:
        name: short name of where they are.
    """

    def __init__(
        self,
        source: CorpusSource,
        *,
        columns: PassageColumns | None,
        candidate_text: str,
        language_in_ids: bool,
        check_ids: bool,
        strict: bool,
        keep_variants: bool,
    ) -> None:
        self.name = source.name
        self._source, self._columns, self._candidate_text = source, columns, candidate_text
        self._language_in_ids, self._check_ids = language_in_ids, check_ids
        self._strict, self._keep_variants = strict, keep_variants

    def __length_hint__(self) -> int:
        """Return about how many texts there are, see `estimate_rows`; NotImplemented of streams."""
        paths = self._source.paths
        try:
            hint = estimate_rows(paths) if paths else None
        except (*DAMAGE, ValueError):  # which reading reports, with its place
            hint = None
        return NotImplemented if hint is None else hint

    def __iter__(self) -> Iterator[CorpusText]:
        """Yield the texts, and say at the end what was let pass.

        Raises:
            ValueError: as `open_corpus` says.
        """
        tolerance = Tolerance(self.name, self._strict)
        codes: Counter[str] = Counter()
        located = self._located(tolerance, codes)
        yield from self._unique(located) if self._check_ids else (text for _, text in located)
        tolerance.report()
        self._warn_of_merged(codes)

    def _located(self, tolerance: Tolerance, codes: Counter[str]) -> Iterator[Located]:
        """Yield texts with their places; count the codes of their languages."""
        mapper = PassageMapper(tolerance, self._columns, number_rows=True)
        for own_id, title, text, where, code in self._source.read(mapper):
            language = self._language(code, where)
            codes[code or ""] += 1
            if self._language_in_ids:
                own_id = f"{language}:{own_id}"
            joined = join_title(title.strip(), text.strip(), self._candidate_text)
            yield where, CorpusText(own_id, language, joined)

    def _unique(self, located: Iterator[Located]) -> Iterator[CorpusText]:
        """Yield texts; ValueError, before any of its block, for one whose id was there before."""
        seen = SeenIds()
        num_rows = 0
        for rows in _together(located):
            texts = [text for _, text in rows]
            for place in seen.add([text.id for text in texts]):
                self._refuse_repeated(num_rows + place, *rows[place])
            yield from texts
            num_rows += len(rows)

    def _language(self, code: str | None, where: str) -> str:
        if code is None:
            raise ValueError(
                f"{where}: the language is unknown; give lang='en', name the field with "
                "columns={'language': ...}, or put {lang} into the path"
            )
        try:
            return normalize_language(code, self._keep_variants)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    def _refuse_repeated(self, row: int, where: str, text: CorpusText) -> None:
        """Raise a ValueError with both places if a text before this one has its id.

        The corpus is read again, since places are not kept. Digests may be equal by chance.
        """
        earlier = islice(self._located(Tolerance(self.name), Counter()), row)
        for place, other in earlier:
            if other.id == text.id:
                remedy = "ids must differ"
                if other.language != text.language:
                    remedy = f"language_in_ids=True makes ids such as '{text.language}:{text.id}'"
                raise ValueError(f"{where}: id {text.id!r} is also that of {place}; {remedy}")

    def _warn_of_merged(self, codes: Counter[str]) -> None:
        by_language: dict[str, Counter[str]] = {}
        for code, count in codes.items():
            name = normalize_language(code, self._keep_variants)
            by_language.setdefault(name, Counter())[code] += count
        if not self._keep_variants:
            warn_of_merged_languages(self.name, by_language)


def _together(texts: Iterator[Located]) -> Iterator[list[Located]]:
    rows: list[Located] = []
    length = 0
    for row in texts:
        rows.append(row)
        length += len(row[1].text)
        if len(rows) == _ROWS or length >= _CHARACTERS:
            yield rows
            rows, length = [], 0
    if rows:
        yield rows
