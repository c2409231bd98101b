"""Where the passages of a corpus come from: files, a data set that is saved, or one of the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.hub import fetch_folder, is_hub_name
from hybrid_fast.common.paths import expanded
from hybrid_fast.data.formats.collection import FORMAT_OF_SUFFIX, FORMATS, file_passages
from hybrid_fast.data.formats.corpus_files import (
    MIRACL_PASSAGES,
    MR_TYDI_NAMES,
    MR_TYDI_PASSAGES,
    Languages,
    find_corpus_files,
)
from hybrid_fast.data.formats.files import Paths, SourceFile, short_name
from hybrid_fast.data.formats.lines import plain_suffix
from hybrid_fast.data.formats.passages import Passage, PassageMapper
from hybrid_fast.data.formats.records import stream_hub_records
from hybrid_fast.data.formats.saved_datasets import is_saved
from hybrid_fast.data.languages import normalize_if_known

# Data sets whose files are fetched, since `datasets` does not run the scripts that read them.
FETCHED = {"miracl/miracl-corpus": MIRACL_PASSAGES, "castorini/mr-tydi-corpus": MR_TYDI_PASSAGES}
_DATA_SET = "hub"
_INSTEAD = "a file or folder of passages (.jsonl, .parquet, .csv ...)"


class CorpusSource(NamedTuple):
    """Passages that can be read again and again.

    Attributes:
        name: short, for messages.
        read: yields them, as a mapper makes them of records.
        ids_repeat: whether ids stand for different passages in its languages.
        paths: its files, if it is one of files.
    """

    name: str
    read: Callable[[PassageMapper], Iterator[Passage]]
    ids_repeat: bool = False
    paths: Sequence[Path] = ()


def find_source(
    path: Paths,
    *,
    lang: str | None,
    languages: Languages,
    format: str | None,
    config: str | None,
    split: str | None,
) -> CorpusSource:
    """Return the source that the options of `open_corpus` name.

    Raises:
        FileNotFoundError: there is no such file, folder or language.
        ValueError: an option is unknown, or does not go with the path.
    """
    if format is not None:
        check_choice("format", format, (*FORMATS, _DATA_SET))
    if format == _DATA_SET or (format is None and _is_data_set(path)):
        if languages is not None:
            raise ValueError("languages= is for paths with {lang}; a data set takes lang=")
        return _data_set(path, lang, config, split)
    if config is not None or split is not None:
        raise ValueError(
            f"config= and split= are for data sets; {path} is read as files, so name those to read"
        )
    name = short_name(path if isinstance(path, str | Path) else [*path])
    if isinstance(path, str) and path in FETCHED and not expanded(path).exists():
        path = _fetch(path, lang, languages)
    files, ids_repeat = find_corpus_files(path, lang, languages)
    formats = [format or _format_of(file) for file in files]
    return CorpusSource(
        name, partial(_read_files, files, formats), ids_repeat, [f.path for f in files]
    )


def _is_data_set(path: Paths) -> bool:
    """Tell whether a path is a folder of `save_to_disk`, or the name of a data set on the hub."""
    if not isinstance(path, str | Path) or "{lang}" in str(path) or path in FETCHED:
        return False
    place = expanded(path)
    is_name = isinstance(path, str) and is_hub_name(path)
    return is_saved(place) if place.exists() else is_name


def _data_set(path: Paths, lang: str | None, config: str | None, split: str | None) -> CorpusSource:
    if not isinstance(path, str | Path):
        raise ValueError(f"format='hub' takes one name or folder, got {path!r}")
    place = str(expanded(path)) if expanded(path).exists() else str(path)
    name = ":".join(part for part in (short_name(place), config, split) if part)
    file = SourceFile(Path(place), None, name, code=lang)
    return CorpusSource(name, partial(_read_data_set, file, config, split))


def _fetch(name: str, lang: str | None, languages: Languages) -> Path:
    """Return the folder with the passages of a data set that is fetched: all, or some languages."""
    wanted = ["*"] if languages is None else [*languages]
    wanted = wanted if lang is None else [lang]
    codes = [normalize_if_known(code) for code in wanted]
    names = {*wanted, *codes, *(MR_TYDI_NAMES.get(code, code) for code in codes)}
    return fetch_folder(
        name,
        f"data set {name!r}",
        "a folder with " + " or ".join(FETCHED[name]),
        repo_type="dataset",
        patterns=[
            f"*{pattern.replace('{name}', each)}*"
            for pattern in FETCHED[name]
            for each in sorted(names)
        ],
    )


def _read_data_set(
    file: SourceFile, config: str | None, split: str | None, mapper: PassageMapper
) -> Iterator[Passage]:
    records = stream_hub_records(str(file.path), config, split, mapper.needed, _INSTEAD)
    return mapper.passages(file, records)


def _read_files(
    files: Sequence[SourceFile], formats: Sequence[str], mapper: PassageMapper
) -> Iterator[Passage]:
    for file, format in zip(files, formats, strict=True):
        yield from file_passages(mapper, file, format)


def _format_of(file: SourceFile) -> str:
    format = FORMAT_OF_SUFFIX.get(plain_suffix(file.path))
    if format is None:
        raise ValueError(
            f"cannot tell the format of {file.path} by its name; give format=, one of "
            f"{', '.join(map(repr, FORMATS))}"
        )
    return format
