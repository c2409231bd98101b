"""Finding files by a path pattern, and reading them line by line: UTF-8, plain or gzip."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from hybrid_fast.data.languages import normalize_language

Json = Any  # what json.loads returns
FORMAT_OF_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".json": "squad",
    ".txt": "bitext",
}
_UNREADABLE = (gzip.BadGzipFile, EOFError, zlib.error)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class SourceFile(NamedTuple):
    """A file that a path pattern matches.

    Attributes:
        path: the path of the file.
        lang: the language of its rows, None if each row has its own.
        label: short name of the pattern, equal for all files that it matches.
        name: the text that "{lang}" matches in the path.
        code: the language as it was given, which `lang` is the normal form of.
    """

    path: Path
    lang: str | None
    label: str
    name: str = ""
    code: str | None = None

    def line_id(self, number: int) -> str:
        """Return the id of a line, equal for this line of all files of the pattern."""
        return f"{self.label}:{number}"

    def row_id(self, number: int) -> str:
        """Return the id of a line of this file alone."""
        return f"{self.label}:{self.name}:{number}" if self.name else f"{self.label}:{number}"


def find_files(
    path: str | Path,
    root: str | Path | None = None,
    lang: str | None = None,
    languages: Sequence[str] | Mapping[str, str] | None = None,
    keep_variants: bool = False,
) -> list[SourceFile]:
    """Return the files that a path or pattern matches, sorted by language.

    Args:
        path: a file, or a pattern with "{lang}" in it: "ntrex.{lang}.txt".
        root: the folder that a relative path starts from.
        lang: the language of a single file.
        languages: the texts that "{lang}" stands for, or a mapping from these to language codes;
            default: all files that match.
        keep_variants: keep script, region and variants of the codes.

    Raises:
        FileNotFoundError: if a file is missing, or none matches.
        ValueError: for an unknown language, or options that contradict the path.
    """
    pattern = str(Path(root or "", path).expanduser())
    if "{lang}" not in pattern:
        if languages is not None:
            raise ValueError(f"languages= needs {{lang}} in the path, got {str(path)!r}; use lang=")
        if not Path(pattern).is_file():
            raise FileNotFoundError(f"no such file: {pattern}")
        normal = None if lang is None else normalize_language(lang, keep_variants)
        return [SourceFile(Path(pattern), normal, short_name(pattern), code=lang)]
    if lang is not None:
        raise ValueError(f"the path {str(path)!r} gives the language; leave out lang={lang!r}")
    names = _matching_names(pattern) if languages is None else languages
    codes = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    files = [_language_file(pattern, *item, keep_variants) for item in codes.items()]
    return sorted(files, key=lambda file: (str(file.lang), file.path))


def check_file(path: str | Path) -> Path:
    """Return a path; FileNotFoundError unless it is a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return Path(path)


def iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield line numbers from 1 and lines; only \n and \r\n end a line.

    Raises:
        ValueError: if the file is empty, not UTF-8 or damaged, with its line.
    """
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, 1):
                yield number, _decode(raw, path, number).removesuffix("\n").removesuffix("\r")
    except _UNREADABLE as error:
        raise ValueError(f"{path}: damaged gzip file after line {number}: {error}") from error
    if not number:
        raise ValueError(f"{path}: the file is empty")


def read_json(path: Path) -> Json:
    """Return the content of a JSON file; ValueError with the line if it is malformed."""
    return parse_json("\n".join(line for _, line in iter_lines(path)), path)


def parse_json(text: str, path: Path, line: int | None = None) -> Json:
    """Return a JSON value; ValueError with file and line if it is malformed.

    Args:
        text: the JSON text.
        path: its file, for the message.
        line: its line in the file; default is the line of the text.
    """
    where = f"{path}:{line}" if line else str(path)
    try:
        value = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        where = f"{path}:{line or error.lineno}"
        raise ValueError(f"{where}: malformed JSON: {error.msg}, column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: a text holds half of a surrogate pair: {error}") from error
    except (RecursionError, ValueError) as error:  # nested too deep, a number of too many digits
        raise ValueError(f"{where}: malformed JSON: {error}") from error


def _language_file(pattern: str, name: str, code: str, keep_variants: bool) -> SourceFile:
    path = Path(pattern.replace("{lang}", name))
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path} (language {name!r} of {pattern})")
    try:
        lang = normalize_language(code, keep_variants)
        return SourceFile(path, lang, short_name(pattern), name, code)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error}; choose files with languages=['en', ...] "
            "or name theirs with languages={'" + name + "': 'en', ...}"
        ) from error


def short_name(pattern: str | Path) -> str:
    """Return folder and file name without {lang} and format: "ntrex/ntrex", "qa/arcd.ar"."""
    *folders, name = Path(str(pattern).replace("{lang}", "")).parts
    for suffix in (".gz", *FORMAT_OF_SUFFIX):
        name = name.removesuffix(suffix)
    names = (part.strip("-_./") for part in (*folders, name))
    return "/".join([name for name in names if name][-2:]) or "data"


def _matching_names(pattern: str) -> list[str]:
    """Return the texts that {lang} matches in the files of a pattern."""
    fixed = Path(pattern.split("{lang}")[0] + "x").parent
    wildcard = Path(pattern).relative_to(fixed).as_posix()
    literals = [re.escape(part) for part in Path(pattern).as_posix().split("{lang}")]
    named = re.compile(literals[0] + "([^/.]+)" + r"\1".join(literals[1:]))
    glob = re.sub(r"[*?\[]", "[\\g<0>]", wildcard).replace("{lang}", "*")
    found = (named.fullmatch(file.as_posix()) for file in fixed.glob(glob))
    names = sorted({match[1] for match in found if match})
    if not names:
        raise FileNotFoundError(f"no file matches {pattern}")
    return names


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}:{number}: not UTF-8 (byte {error.start} of the line is "
            f"0x{raw[error.start]:02x}); convert the file"
        ) from error
