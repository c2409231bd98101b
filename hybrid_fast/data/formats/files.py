"""Finding files by a path, a list of paths, or a pattern, and what their names say."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.paths import expanded
from hybrid_fast.data.formats.lines import check_file, plain_name, plain_suffix
from hybrid_fast.data.languages import normalize_language

FORMAT_OF_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".json": "json",
    ".txt": "bitext",
}
Paths = str | Path | Sequence[str | Path]
_WILDCARD = re.compile(r"\{lang\}|\*\*/|\*|\?")
_MATCHED = {"**/": "(.*/)?", "*": "([^/]*)", "?": "([^/])"}


class SourceFile(NamedTuple):
    """A file that a path or pattern matches, or data in memory under the name of its kind.

    Attributes:
        path: the path of the file.
        lang: the language of its rows, None if each row has its own.
        label: short name without the language, equal for the files that are line-aligned with it.
        name: the text that "{lang}" matches in the path.
        code: the language as it was given, which `lang` is the normal form of.
        mark: what stands between the path and the number of a line, for messages.
    """

    path: Path
    lang: str | None
    label: str
    name: str = ""
    code: str | None = None
    mark: str = ":"

    def place(self, number: int) -> str:
        """Return the place of a line, for messages."""
        return f"{self.path}{self.mark}{number}"

    def line_id(self, number: int) -> str:
        """Return the id of a line, equal for this line of all files that share the label."""
        return f"{self.label}:{number}"

    def row_id(self, number: int) -> str:
        """Return the id of a line of this file alone."""
        return f"{self.label}:{self.name}:{number}" if self.name else f"{self.label}:{number}"


def find_files(
    path: Paths,
    root: str | Path | None = None,
    lang: str | None = None,
    languages: Sequence[str] | Mapping[str, str] | None = None,
) -> list[SourceFile]:
    """Return the files that paths or patterns match, those of each sorted by language and name.

    Args:
        path: a file, a pattern, or a list of these. Patterns have "{lang}" in them, wildcards (*,
            ?, ** for folders at any depth), or both: "part-*.{lang}.txt".
        root: the folder that a relative path starts from.
        lang: the language of files whose path has no "{lang}".
        languages: the texts that "{lang}" stands for, or a mapping from these to language codes;
            default: all files that match.

    Raises:
        FileNotFoundError: if a file is missing, or none matches.
        ValueError: for an unknown language, a file that is named twice, or options that contradict
            the path.
    """
    files = []
    for each in _as_list(path):
        pattern = str(Path(expanded(root or "."), expanded(each)))
        if "{lang}" in pattern:
            if lang is not None:
                raise ValueError(f"the path {str(each)!r} gives the language; leave out {lang=}")
            files += _language_files(pattern, languages)
        else:
            if languages is not None:
                raise ValueError(
                    f"languages= needs {{lang}} in the path, got {str(each)!r}; use lang="
                )
            normal = None if lang is None else normalize_language(lang)
            files += [
                SourceFile(one, normal, short_name(one), code=lang) for one in _expand(pattern)
            ]
    return with_distinct_labels(files)


def format_of(path: Paths) -> str | None:
    """Return the format that the names of files tell, by their last suffix before a compression.

    Raises:
        ValueError: if names of several formats are listed, or none.
    """
    formats = {FORMAT_OF_SUFFIX.get(plain_suffix(each)): str(each) for each in _as_list(path)}
    if len(formats) > 1:
        raise ValueError(
            f"files of several formats are listed together: {', '.join(formats.values())}; load "
            "each format on its own, or give format="
        )
    return next(iter(formats), None)


def short_name(path: Paths) -> str:
    """Return folder and file name without {lang}, wildcards and format: "qa/ntrex", "qa/arcd.ar".

    Of a list it is what the beginnings of the paths have in common.
    """
    if not isinstance(path, str | Path):
        columns = takewhile(lambda some: len({*some}) == 1, zip(*map(str, path), strict=False))
        path = "".join(some[0] for some in columns)
    *folders, name = Path(_WILDCARD.sub("", str(path))).parts or ("",)
    name = plain_name(name)
    stem, dot, suffix = name.rpartition(".")
    if f"{dot}{suffix.lower()}" in FORMAT_OF_SUFFIX:
        name = stem
    names = (part.strip("-_./") for part in (*folders, name))
    return "/".join([name for name in names if name][-2:]) or "data"


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts "docs-2" before "docs-10"."""
    pieces = re.findall(r"\d+|\D+", str(path))
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def _as_list(path: Paths) -> list[str | Path]:
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise ValueError("the list of paths is empty; name at least one file")
    return paths


def _expand(pattern: str, *, classes: bool = True) -> list[Path]:
    """Return the files of a pattern; [...] is a class of characters only if `classes` is True."""
    if Path(pattern).is_file():
        return [Path(pattern)]
    if Path(pattern).is_dir():
        raise FileNotFoundError(f"{pattern} is a folder; name its files, as in '{pattern}/*.jsonl'")
    escaped = pattern if classes else pattern.replace("[", "[[]")
    if glob.escape(pattern) == pattern:
        check_file(pattern)  # which says why it is none
    found = [Path(each) for each in glob.glob(escaped, recursive=True)]
    files = sorted((each for each in found if each.is_file()), key=natural_order)
    if not files:
        raise FileNotFoundError(f"no file matches {pattern}")
    return files


def _language_files(
    pattern: str, languages: Sequence[str] | Mapping[str, str] | None
) -> list[SourceFile]:
    names = _matching_names(pattern) if languages is None else languages
    codes = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    files = [
        file for name, code in codes.items() for file in _files_of_language(pattern, name, code)
    ]
    return sorted(files, key=lambda file: (str(file.lang), natural_order(file.path)))


def _files_of_language(pattern: str, name: str, code: str) -> Iterator[SourceFile]:
    try:
        paths = _expand(pattern.replace("{lang}", name), classes=False)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} (language {name!r} of {pattern})") from error
    for path in paths:
        try:
            lang = normalize_language(code)
        except ValueError as error:
            raise ValueError(
                f"{path}: {error}; choose files with languages=['en', ...] "
                "or name theirs with languages={'" + name + "': 'en', ...}"
            ) from error
        yield SourceFile(path, lang, _label(pattern, name, path), name, code)


def _label(pattern: str, name: str, path: Path) -> str:
    """Return the short name of a file of a pattern, without the language."""
    matched = re.fullmatch(_expression(pattern, re.escape(name)), path.as_posix())
    texts = iter(matched.groups() if matched else ())
    return short_name(
        _WILDCARD.sub(lambda found: "" if found[0] == "{lang}" else next(texts, "") or "", pattern)
    )


def _matching_names(pattern: str) -> list[str]:
    """Return the texts that {lang} matches in the files of a pattern."""
    named = re.compile(_expression(pattern, "(?P<lang>[^/.]+)", "(?P=lang)"))
    escaped = pattern.replace("[", "[[]").replace("{lang}", "*")
    found = (named.fullmatch(Path(each).as_posix()) for each in glob.glob(escaped, recursive=True))
    names = sorted({match["lang"] for match in found if match})
    if not names:
        raise FileNotFoundError(f"no file matches {pattern}")
    return names


def _expression(pattern: str, lang: str, again: str | None = None) -> str:
    """Return a regular expression of the paths of a pattern, wildcards in groups of their own.

    Args:
        pattern: the pattern.
        lang: what matches "{lang}".
        again: what matches it wherever it occurs a second time; default the same.
    """
    posix, end, parts = Path(pattern).as_posix(), 0, []
    for found in _WILDCARD.finditer(posix):
        parts.append(re.escape(posix[end : found.start()]))
        if found[0] == "{lang}":
            parts.append(lang)
            lang = again or lang
        else:
            parts.append(_MATCHED[found[0]])
        end = found.end()
    return "".join([*parts, re.escape(posix[end:])])


def with_distinct_labels(files: Sequence[SourceFile]) -> list[SourceFile]:
    """Give files of equal label and language labels of their own, since row ids come from these."""
    counts: Counter[tuple[str, str]] = Counter()
    paths = Counter(file.path.resolve() for file in files)
    repeated = next((path for path, count in paths.items() if count > 1), None)
    if repeated is not None:
        raise ValueError(f"{repeated} is named twice; name each file once")
    distinct = []
    for file in files:
        counts[file.label, file.name] += 1
        number = counts[file.label, file.name]
        distinct.append(file._replace(label=f"{file.label}#{number}") if number > 1 else file)
    return distinct
