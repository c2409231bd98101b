"""Files of a FAISS store: those that only grow, and those that a commit writes anew.

Of a file that grows a known number of bytes counts. What a crash left beyond it is cut off when
somebody writes there again, and no reader looks at it.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_fast.common.disk import writing

_PIECE = 16 * 2**20  # bytes read or written at a time


class KeptFile(NamedTuple):
    """A file as a commit left it.

    Attributes:
        name: of the file.
        size: bytes that count.
        crc32: of these.
    """

    name: str
    size: int = 0
    crc32: int = 0


class GrowingFile:
    """A file that is appended to and read through memory mapping.

    Attributes:
        path: of the file.
        kept: what counts of it.
    """

    def __init__(self, folder: Path, kept: KeptFile, writable: bool) -> None:
        """Open a file; for writing it is made if there is none, and cut to what counts."""
        self.path, self.kept = folder / kept.name, kept
        self._mapped: np.ndarray | None = None
        self._descriptor: int | None = None
        if writable:
            with writing(self.path):
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
                os.ftruncate(self._descriptor, kept.size)

    def append(self, left: memoryview) -> None:
        """Add bytes at the end.

        Raises:
            OSError: they cannot be written; `cut` to what `kept` was before.
        """
        assert self._descriptor is not None
        name, size, crc32 = self.kept
        with writing(self.path):
            while left:
                count = os.pwrite(self._descriptor, left[:_PIECE], size)
                crc32 = zlib.crc32(left[:count], crc32)
                size += count
                left = left[count:]
        self.kept = KeptFile(name, size, crc32)

    def cut(self, kept: KeptFile) -> None:
        """Go back to what counted before."""
        assert self._descriptor is not None
        self.kept, self._mapped = kept, None
        os.ftruncate(self._descriptor, kept.size)

    def read(self) -> np.ndarray:
        """Return the bytes that count, uint8 (size,), mapped."""
        if self._mapped is None or len(self._mapped) < self.kept.size:
            self._mapped = map_file(self.path, self.kept.size)
        return self._mapped[: self.kept.size]

    def flush(self) -> None:
        """Have the bytes written to the disk."""
        assert self._descriptor is not None
        with writing(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the file; what was mapped lives as long as its arrays."""
        self._mapped = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def as_bytes(array: np.ndarray) -> memoryview:
    """Return the bytes of an array, row after row."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def map_file(path: Path, size: int) -> np.ndarray:
    """Return the first bytes of a file, uint8 (size,), mapped."""
    if size == 0:  # nothing can be mapped
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, "r", shape=(size,)).view(np.ndarray)


def write_array(path: Path, array: np.ndarray) -> KeptFile:
    """Write the bytes of an array to a new file, to the disk."""
    path.unlink(missing_ok=True)  # what an attempt that failed may have left
    file = GrowingFile(path.parent, KeptFile(path.name), writable=True)
    try:
        file.append(as_bytes(array))
        file.flush()
    finally:
        file.close()
    return file.kept


def keep_file(path: Path) -> KeptFile:
    """Have a finished file written to the disk, and return what is kept of it."""
    with path.open("rb") as file, writing(path):
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
    return KeptFile(path.name, size, _checksum(path, size))


def check_file(folder: Path, kept: KeptFile, verify: bool) -> None:
    """Check that a file has at least the bytes that count, and with `verify` their checksum.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    path = folder / kept.name
    size = path.stat().st_size
    if size < kept.size:
        raise ValueError(f"{path} is damaged: it has {size} bytes, not {kept.size}")
    if verify and _checksum(path, kept.size) != kept.crc32:
        raise ValueError(f"{path} is damaged: its checksum is another than when it was written")


def _checksum(path: Path, size: int) -> int:
    data, crc32 = map_file(path, size), 0
    for first in range(0, size, _PIECE):
        crc32 = zlib.crc32(data[first : first + _PIECE].data, crc32)
    return crc32
