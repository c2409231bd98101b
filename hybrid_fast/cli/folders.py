"""Output folders: checked before the work, and removed again if it fails and leaves them empty."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def check_new(path: Path, what: str = "folder for --out") -> None:
    """Check that a new folder or file can be created.

    Args:
        path: its path.
        what: what it is, for messages.

    Raises:
        FileExistsError: it exists.
        NotADirectoryError: one of its parents is a file.
        PermissionError: its parent is not writable.
    """
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} exists; choose another {what}")
    check_writable(path)


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder, which may not exist yet.

    Raises:
        NotADirectoryError: it, or one of its parents, is a file.
        PermissionError: it, or the parent it would be created in, is not writable.
    """
    place = folder.resolve()
    place = next(path for path in (place, *place.parents) if path.exists())
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is a file; choose another folder for --out")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{place} is not writable; choose another folder for --out")


@contextmanager
def without_empty_remains(folder: Path) -> Iterator[None]:
    """Remove a folder and its parents afterwards, if they are new and empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    finally:
        for path in new:
            with suppress(OSError):  # not empty, or never created
                path.rmdir()
