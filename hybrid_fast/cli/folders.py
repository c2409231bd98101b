"""Output folders: checked before the work, and removed again if it fails and leaves them empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from hybrid_fast.common.files import check_writable
from hybrid_fast.common.launch import find_launch
from hybrid_fast.common.locks import sole_use


def claim_new(context: typer.Context, path: Path, what: str = "folder for --out") -> None:
    """Check that a new folder or file can be created, and keep other commands from it.

    Args:
        context: of the command, which holds `path` until it ends.
        path: of the folder or file.
        what: what it is, for messages.

    Raises:
        FileExistsError: it exists, or another command is about to make it.
        NotADirectoryError: one of its parents is a file.
        PermissionError: its parent is not writable.
    """
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} exists; choose another {what}")
    check_writable(path)
    if find_launch().rank == 0:
        context.with_resource(sole_use(path))


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
