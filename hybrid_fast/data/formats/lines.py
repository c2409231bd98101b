"""Text files line by line: UTF-8, plain or compressed as the end of the name says."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from hybrid_fast.common.paths import expanded

COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
# What reading a compressed file may raise if it is damaged.
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
# How files begin that are no plain text, and what to do with them.
_SIGNATURES = {
    b"\x1f\x8b": "gzip; let its name end in .gz",
    b"BZh": "bzip2; let its name end in .bz2",
    b"\xfd7zXZ\x00": "xz; let its name end in .xz",
    b"\x28\xb5\x2f\xfd": "zstd; let its name end in .zst",
    b"PK\x03\x04": "zip (an archive, or a workbook of Excel); unpack it or export it as CSV",
}
_FORMATS = {b"PAR1": "Parquet", b"ARROW1": "Arrow"}
_WIDE_MARKS = {  # the longer first: that of UTF-32 begins as that of UTF-16
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def check_file(path: str | Path) -> Path:
    """Return a path; FileNotFoundError unless it is a file."""
    place = expanded(path)
    if place.is_fifo():
        raise FileNotFoundError(
            f"{place} can be read only once; write what it gives to a file, and name that"
        )
    if not place.is_file():
        raise FileNotFoundError(f"no such file: {place}")
    return place


def plain_name(path: str | Path) -> str:
    """Return the name of a file without the ending that tells its compression."""
    name = Path(path).name
    return name[: -len(Path(name).suffix)] if _compression(name) else name


def plain_suffix(path: str | Path) -> str:
    """Return the last suffix before that of a compression, in lower case; "" if there is none."""
    return Path(plain_name(path)).suffix.lower()


def iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield line numbers from 1 and lines; \n and \r\n end a line, \r only where there is no \n.

    Raises:
        ValueError: if the file is empty, not UTF-8 or damaged, with its line.
    """
    number = 0
    for number, raw in enumerate(_raw_lines(path), 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(error, raw, path, number) from error
        yield number, line.removesuffix("\n").removesuffix("\r")
    if not number:
        raise ValueError(f"{path}: the file is empty")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed; ValueError if it is damaged."""
    return b"".join(_raw_lines(path, is_text=False))


def _raw_lines(path: Path, *, is_text: bool = True) -> Iterator[bytes]:
    number = 0
    try:
        with open_binary(path) as file:
            for number, raw in enumerate(file, 1):
                if is_text and number == 1:
                    _check_start(raw, path)
                    if b"\r" in raw and not raw.endswith(b"\n"):  # of Mac OS 9
                        yield from raw.removesuffix(b"\r").split(b"\r")
                        continue
                yield raw
    except DAMAGE as error:
        kind = _compression(path)
        if kind is None or getattr(error, "errno", None) is not None:
            raise  # of the disk, not of what is on it
        raise ValueError(
            f"{path}: damaged {kind} file after line {number}, cannot be decompressed: {error}"
        ) from error


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed."""
    kind = _compression(path)
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(path))
    if kind == "bzip2":
        return cast(IO[bytes], bz2.open(path))
    if kind == "xz":
        return cast(IO[bytes], lzma.open(path))
    if kind == "zstd":
        stream: Any = pa.input_stream(str(path), compression="zstd")
        return io.BufferedReader(stream)
    return path.open("rb")


def _compression(path: str | Path) -> str | None:
    return COMPRESSIONS.get(Path(path).suffix.lower())


def _check_start(line: bytes, path: Path) -> None:
    """Raise a ValueError that names what is no UTF-8 text by the first line of the file."""
    for mark, encoding in _WIDE_MARKS.items():
        if line.startswith(mark):
            raise ValueError(_wide(path, encoding))
    if 3 * line.count(0) > len(line):  # ASCII in UTF-16 is valid UTF-8, with a NUL in each letter
        raise ValueError(_wide(path, "UTF-16" if 3 * line.count(0) < 2 * len(line) else "UTF-32"))
    for signature, remedy in _SIGNATURES.items():
        if line.startswith(signature):
            raise ValueError(f"{path}: is compressed with {remedy}")
    for signature, name in _FORMATS.items():
        if line.startswith(signature):
            raise ValueError(f"{path}: is a file of {name}, not of text")


def _wide(path: Path, encoding: str) -> str:
    return (
        f"{path}: is {encoding} text; convert it to UTF-8, as with "
        f"'iconv -f {encoding} -t UTF-8 FILE > NEW'"
    )


def _not_utf8(error: UnicodeDecodeError, raw: bytes, path: Path, number: int) -> ValueError:
    byte = raw[error.start : error.start + 1]
    latin = byte.decode("cp1252", errors="ignore")
    of_latin = f", {latin!r} in Windows-1252 and Latin-1" if latin else ""
    return ValueError(
        f"{path}:{number}: not UTF-8 (byte {error.start} of the line is 0x{byte.hex()}{of_latin}); "
        "convert the file"
    )
