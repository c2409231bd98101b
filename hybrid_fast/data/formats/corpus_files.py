"""The files of a corpus: named one by one, by patterns, or as the folder of a published corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.paths import expanded
from hybrid_fast.data.formats.collection import FORMAT_OF_SUFFIX, language_in_name
from hybrid_fast.data.formats.files import (
    Paths,
    SourceFile,
    find_files,
    natural_order,
    short_name,
    with_distinct_labels,
)
from hybrid_fast.data.formats.lines import COMPRESSIONS, plain_suffix
from hybrid_fast.data.languages import codes_meant, normalize_language

# Where MIRACL and Mr. TyDi have their passages, by the name of a language in file names.
MIRACL_PASSAGES = ("miracl-corpus-v1.0-{name}/docs-*.jsonl",)
MR_TYDI_PASSAGES = (
    "mrtydi-v1.1-{name}/corpus.jsonl",
    "mrtydi-v1.1-{name}/collection/docs.jsonl",
)
# What file names of Mr. TyDi call the languages.
MR_TYDI_NAMES = {
    "ar": "arabic",
    "bn": "bengali",
    "en": "english",
    "fi": "finnish",
    "id": "indonesian",
    "ja": "japanese",
    "ko": "korean",
    "ru": "russian",
    "sw": "swahili",
    "te": "telugu",
    "th": "thai",
}
_MINOR_FORMATS = {"json", "lines", "sgml"}  # in which other files than passages are common
Languages = Sequence[str] | Mapping[str, str] | None


class CorpusFiles(NamedTuple):
    """The files of a corpus, and whether ids stand for different passages in its languages."""

    files: Sequence[SourceFile]
    ids_repeat: bool = False


def find_corpus_files(path: Paths, lang: str | None, languages: Languages) -> CorpusFiles:
    """Return the files of a corpus.

    A folder is one of MIRACL or Mr. TyDi if it holds folders of their names at any depth; else the
    files in it named `corpus.*` or `corpus.<language>.*`, as in BEIR and TREC; else those in its
    folder `corpus`; else all its files, which must be of one format.

    Args:
        path: a file, a pattern, a folder, or a list of these.
        lang: the language of what no path gives one; of folders of several languages, the one to
            read.
        languages: those to read, where paths give them.

    Raises:
        FileNotFoundError: if there is no such file, folder or language.
        ValueError: as `find_files`, and if the files of a folder are of several formats.
    """
    if isinstance(path, str | Path):
        folder = expanded(path)
        if "{lang}" not in str(path) and folder.is_dir():
            return _of_folder(folder, lang, languages)
        return CorpusFiles(find_files(path, lang=lang, languages=languages))
    parts = [find_corpus_files(each, lang, languages) for each in path]
    if not parts:
        raise ValueError("the list of paths is empty; name at least one file")
    files = with_distinct_labels([file for part in parts for file in part.files])
    return CorpusFiles(files, any(part.ids_repeat for part in parts))


def _of_folder(folder: Path, lang: str | None, languages: Languages) -> CorpusFiles:
    for pattern in (*MIRACL_PASSAGES, *MR_TYDI_PASSAGES):
        if found := _by_language(folder, pattern):
            files = _of_languages(folder, found, lang, languages)
            return CorpusFiles(files, ids_repeat=len({file.lang for file in files}) > 1)
    if named := _data_files(folder.glob("corpus*")):
        return CorpusFiles(_of_names(folder, named, lang, languages))
    if (folder / "corpus").is_dir():
        return _of_folder(folder / "corpus", lang, languages)
    return CorpusFiles(find_files(_of_one_format(folder), lang=lang, languages=languages))


def _by_language(folder: Path, pattern: str) -> dict[str, list[Path]]:
    """Return the files of a pattern by what stands for {name}, at any depth of a folder.

    The name of the folder itself may be the first part of the pattern.
    """
    start, _, names = pattern.partition("/")
    own = re.fullmatch(_expression(start), folder.absolute().name)
    where = names if own else f"**/{pattern}".replace("{name}", "*")
    found: dict[str, list[Path]] = {}
    for ending in ("", *COMPRESSIONS):
        for path in folder.absolute().glob(where + ending):
            match = re.search(f"/{_expression(pattern)}", path.as_posix())
            if match:
                found.setdefault(match["name"], []).append(path)
    return found


def _expression(pattern: str) -> str:
    parts = {"{name}": "(?P<name>[^/]+)", "*": "[^/]*"}
    return re.sub(
        r"\{name\}|\*|[^{*]+", lambda part: parts.get(part[0], re.escape(part[0])), pattern
    )


def _of_names(
    folder: Path, paths: Sequence[Path], lang: str | None, languages: Languages
) -> list[SourceFile]:
    """Return files called `corpus.<language>.*`, or without languages."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(language_in_name(path) or "", []).append(path)
    if [*found] == [""]:
        return find_files(paths, lang=lang, languages=languages)
    if "" in found:
        raise ValueError(
            f"{found[''][0]} does not name its language, as other files of the folder do; call it "
            "corpus.<language>.*, or name the files to read one by one"
        )
    return _of_languages(folder, found, lang, languages)


def _of_languages(
    folder: Path, found: Mapping[str, Sequence[Path]], lang: str | None, languages: Languages
) -> list[SourceFile]:
    """Return the files of the languages to read, sorted by language and number.

    Args:
        folder: where they are, for messages.
        found: the files by what their names call the language.
        lang: as of `find_corpus_files`.
        languages: as of `find_corpus_files`.
    """
    codes = _codes_to_read(folder, [*found], lang, languages)
    files = []
    for name, code in codes.items():
        try:
            language = normalize_language(code)
        except ValueError as error:
            raise ValueError(f"{found[name][0]}: {error}") from error
        files += [SourceFile(path, language, short_name(path), code=code) for path in found[name]]
    return with_distinct_labels(
        sorted(files, key=lambda file: (str(file.lang), natural_order(file.path)))
    )


def _codes_to_read(
    folder: Path, names: Sequence[str], lang: str | None, languages: Languages
) -> dict[str, str]:
    """Return which names of languages to read, and the code of each."""
    if lang is not None and languages is not None:
        raise ValueError(f"give lang= or languages=, not both: {lang=}, {languages=}")
    if isinstance(languages, Mapping):
        codes = {name: languages[name] for name in languages if name in names}
        missing = [name for name in languages if name not in names]
    else:
        wanted = languages if lang is None else [lang]
        code_of = {name: code for code, name in MR_TYDI_NAMES.items()}
        codes = {name: code_of.get(name, name) for name in names}
        known = {*codes.values()}
        missing = [code for code in wanted or () if not codes_meant(code, known)]
        if wanted is not None:
            meant = {each for code in wanted for each in codes_meant(code, known)}
            codes = {name: code for name, code in codes.items() if code in meant}
    if missing:
        raise FileNotFoundError(
            f"{folder} has no passages of {', '.join(map(repr, missing))}; it has "
            f"{', '.join(sorted(names))}"
        )
    return codes


def _of_one_format(folder: Path) -> list[Path]:
    """Return all data files of a folder and those below it."""
    files = _data_files(folder.rglob("*"))
    formats: dict[str, Path] = {}
    for path in files:
        formats.setdefault(FORMAT_OF_SUFFIX[plain_suffix(path)], path)
    chosen = {*formats} - _MINOR_FORMATS or {*formats}
    if not chosen:
        raise FileNotFoundError(
            f"{folder} holds no passages: no file of {', '.join(FORMAT_OF_SUFFIX)}, plain or "
            "compressed"
        )
    if len(chosen) > 1:
        first, second = (formats[each] for each in sorted(chosen)[:2])
        raise ValueError(
            f"{folder} holds files of several formats, such as {first.name} and {second.name}; "
            f"name those with passages, as in '{folder}/*{plain_suffix(first)}'"
        )
    return [path for path in files if FORMAT_OF_SUFFIX[plain_suffix(path)] in chosen]


def _data_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files of a known format whose names are not hidden."""
    found = [
        path
        for path in paths
        if plain_suffix(path) in FORMAT_OF_SUFFIX and path.name[0] not in "._" and path.is_file()
    ]
    return sorted(found, key=natural_order)
