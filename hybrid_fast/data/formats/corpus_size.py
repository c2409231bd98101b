"""About how many rows files have, in no time: what the progress of reading them is shown against.

Parquet says it. Of files by line the first megabytes are counted, compressed as they are, and what
they show holds for the rest.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybrid_fast.data.formats.lines import COMPRESSIONS, plain_suffix

_BY_LINE = (".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
_BUDGET = 2**24  # bytes that are read, of all files together
_CHUNK = 2**20


def estimate_rows(paths: Sequence[Path]) -> int | None:
    """Return about how many rows files have; None if one is of a format that does not show it."""
    num_rows, counted_lines, counted_bytes, rest = 0, 0, 0, 0
    for path in paths:
        suffix = plain_suffix(path)
        if suffix == ".parquet":
            num_rows += pq.read_metadata(path).num_rows
        elif suffix in _BY_LINE:
            size = path.stat().st_size
            lines, read = _count_lines(path, _BUDGET - counted_bytes)
            counted_lines, counted_bytes = counted_lines + lines, counted_bytes + read
            rest += size - read
        else:
            return None
    density = counted_lines / max(counted_bytes, 1)
    return num_rows + counted_lines + round(density * rest)


def _count_lines(path: Path, budget: int) -> tuple[int, int]:
    """Return the lines in the first bytes of a file, and how many bytes these are on the disk."""
    lines, last = 0, b"\n"
    with path.open("rb") as raw, _decompressed(raw, path) as file:
        while raw.tell() < budget:
            chunk = file.read(_CHUNK)
            if not chunk:  # a line may end with the file
                return lines + (last != b"\n"), path.stat().st_size
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
        return lines, raw.tell()


def _decompressed(raw: IO[bytes], path: Path) -> Any:
    kind = COMPRESSIONS.get(path.suffix.lower())
    if kind == "zstd":
        return pa.CompressedInputStream(raw, kind)
    openers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
    return raw if kind is None else openers[kind](raw)
