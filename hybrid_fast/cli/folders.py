"""Output folders: refused before the work if they cannot appear, removed again if it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def check_new(path: Path, what: str = "folder for --out") -> None:
    """Check that a folder or file can be made.

    Args:
        path: where.
        what: what it is, for messages.

    Raises:
        FileExistsError: there is something of that name.
        NotADirectoryError: a file is where its parent should be.
        PermissionError: its parent cannot be written to.
    """
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} exists; choose another {what}")
    check_writable(path)


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder that is there or will be made.

    Raises:
        NotADirectoryError: a file is in its place or in that of a parent.
        PermissionError: it, or the parent it would be made in, cannot be written to.
    """
    place = folder.resolve()
    place = next(path for path in (place, *place.parents) if path.exists())
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is a file; choose another folder for --out")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{place} cannot be written to; choose another folder for --out")


@contextmanager
def without_empty_remains(folder: Path) -> Iterator[None]:
    """Remove the folder, and parents made on the way to it, if they are new and end up empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):  # not empty, or never made
                path.rmdir()
