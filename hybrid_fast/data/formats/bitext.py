"""Parallel sentences: line-aligned text files, or lines with an id and a text (verses of a Bible).

A sentence and its translations share an id: the line number, or the content of a column. All
sentences are held in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import (
    Item,
    OnEmpty,
    check_text,
    is_blank,
    report_skipped,
    shared_passage_ids,
)
from hybrid_fast.data.formats.lines import iter_lines
from hybrid_fast.data.languages import normalize_language

Pair = Literal["same", "next"]
Texts = dict[str, dict[str, list[str]]]  # by language and sentence id, in order; mostly one each


def read_bitext(
    files: Sequence[SourceFile],
    *,
    fields: Sequence[str] = ("text",),
    pair: Pair = "same",
    documents: str | Path | None = None,
    document_separator: str | None = None,
    on_empty: OnEmpty = "error",
) -> Iterator[Item]:
    """Yield items of parallel sentences.

    Args:
        files: UTF-8 text files with their languages.
        fields: the meaning of the tab-separated fields of a line: "id"; "text", in the language of
            the file; a language code, for text in that language; "-", ignored. ("text",) is plain
            line-aligned text, ("id", "text") verses with ids, ("id", "en", "text") files with
            English and another language each.
        pair: "same": the sentence is both query and passage, which only cross batches can use;
            "next": the passage is the next sentence of the same document.
        documents: a file with the document of each line, if lines have no ids.
        document_separator: the document is the id up to its last separator: with ".", Gen.1.1 is in
            the document Gen.1.
        on_empty: "error": a blank text is an error; "skip": the sentence is missing in its
            language.

    Two sentences that are equal in one language share their passage id in all languages.

    Raises:
        ValueError: for bad input, with file and line, and for files that are not aligned.
    """
    check_choice("pair", pair, ("same", "next"))
    check_choice("on_empty", on_empty, ("error", "skip"))
    _check_fields(fields)
    _check_documents(fields, pair, documents, document_separator)
    texts: Texts = {}
    num_lines: dict[str, dict[str, int]] = defaultdict(dict)
    for file in files:
        num_lines[file.label][str(file.path)] = _read_file(file, fields, on_empty, texts)
    document_of: dict[str, str] = {}
    if documents is not None:
        if len(num_lines) > 1:
            raise ValueError(
                f"documents= is for one file a language, but there are {len(num_lines)} that are "
                "not aligned with each other; load each with its own documents="
            )
        lines = list(iter_lines(Path(documents)))
        num_lines[files[0].label][str(documents)] = len(lines)
        document_of = {files[0].line_id(number): name for number, name in lines}
    for of_label in num_lines.values():
        if "id" not in fields and len(set(of_label.values())) > 1:
            raise ValueError(
                f"the files are not aligned; their numbers of lines differ: {of_label}"
            )
    if document_separator is not None:
        ids = {sentence for by_id in texts.values() for sentence in by_id}
        document_of = {sentence: sentence.rpartition(document_separator)[0] for sentence in ids}
    passage_ids = _passage_ids(texts)
    for lang, by_id in texts.items():
        for first, second in _pairs(list(by_id), pair, document_of):
            group_id = first if pair == "same" else f"{first}>{second}"
            for query in by_id[first]:
                for passage in [query] if pair == "same" else by_id[second]:
                    yield Item(group_id, lang, query, passage, passage_ids[second])


def _pairs(
    sentences: Sequence[str], pair: Pair, document_of: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the ids of a query and its passage, from the ids of one language in order."""
    if pair == "same":
        return zip(sentences, sentences, strict=True)
    return ((a, b) for a, b in pairwise(sentences) if document_of[a] == document_of[b])


def _passage_ids(texts: Texts) -> dict[str, str]:
    """Return the passage id of each sentence id."""
    entries = [
        (sentence, text)
        for by_id in texts.values()
        for sentence, alternatives in by_id.items()
        for text in alternatives
    ]
    sentences = [sentence for sentence, _ in entries]
    shared = shared_passage_ids(sentences, [text for _, text in entries])
    return dict(zip(sentences, shared, strict=True))


def _read_file(file: SourceFile, fields: Sequence[str], on_empty: OnEmpty, texts: Texts) -> int:
    """Add the sentences of a file to `texts`; return its number of lines."""
    languages = _field_languages(file, fields)
    id_field = fields.index("id") if "id" in fields else None
    seen: set[str] = set()
    num_empty = number = 0
    for number, line in iter_lines(file.path):
        where = f"{file.path}:{number}"
        values = line.split("\t") if len(fields) > 1 else [line]
        if len(values) != len(fields):
            raise ValueError(
                f"{where}: has {len(values)} tab-separated fields, but fields={list(fields)} names "
                f"{len(fields)}"
            )
        sentence = file.line_id(number)
        if id_field is not None:
            sentence = check_text(values[id_field], where, "id")
            if sentence in seen:
                raise ValueError(f"{where}: field 'id': {sentence!r} occurs twice")
            seen.add(sentence)
        for position, lang in languages.items():
            text = values[position]
            if on_empty == "skip" and is_blank(text):
                num_empty += 1
                continue
            check_text(text, where, fields[position])
            alternatives = texts.setdefault(lang, {}).setdefault(sentence, [])
            if text not in alternatives:
                alternatives.append(text)
    report_skipped(file.path, num_empty, "empty texts")
    return number


def _field_languages(file: SourceFile, fields: Sequence[str]) -> dict[int, str]:
    """Return the language of each field that holds a text."""
    languages: dict[int, str] = {}
    for position, name in enumerate(fields):
        if name == "text" and file.lang is None:
            raise ValueError(
                f"{file.path}: the language is unknown; give lang= or {{lang}} in the path"
            )
        if name == "text":
            languages[position] = str(file.lang)
        elif name not in ("id", "-"):
            normalize_language(name)  # ValueError if it is no language
            languages[position] = name
    return languages


def _check_fields(fields: Sequence[str]) -> None:
    names = [name for name in fields if name != "-"]
    if isinstance(fields, str) or len(set(names)) < len(names) or not set(names) - {"id"}:
        raise ValueError(
            "fields must name each tab-separated field of a line once, as in ['text'], "
            f"['id', 'text'] or ['id', 'en', 'text'], got {fields!r}"
        )


def _check_documents(
    fields: Sequence[str], pair: Pair, documents: str | Path | None, separator: str | None
) -> None:
    if pair == "next" and documents is None and separator is None:
        raise ValueError(
            "pair='next' needs to know where documents end: give documents= or document_separator="
        )
    if documents is not None and "id" in fields:
        raise ValueError("documents= is for lines without ids; with ids use document_separator=")
    if separator is not None and "id" not in fields:
        raise ValueError("document_separator= needs 'id' in fields; without ids use documents=")
