"""Paths that users give, looked at before anything heavy is imported.

A path that passes may still be refused by what reads it; one that is refused here is nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from hybrid_fast.common.hub import is_hub_name
from hybrid_fast.common.paths import expanded

_PLACEHOLDER = re.compile(r"[{*?\[]")


def check_file(path: Path, needed: str = "") -> None:
    """Raise FileNotFoundError unless a path is there; `needed` says what it should be."""
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}{needed and f'; {needed} is needed'}")


def check_source(path: str | Path, root: str | Path | None = None) -> None:
    """Check that texts can be read from a path.

    Args:
        path: a file, a folder, a pattern with {lang} or wildcards, an address, or a hub name.
        root: the folder that a relative path starts from.

    Raises:
        FileNotFoundError: there is no such file or folder, or no folder for a pattern.
    """
    if "://" in str(path):
        return
    place = Path(root or "", expanded(path))
    if place.exists():
        return
    pattern = _PLACEHOLDER.search(str(place))
    if pattern is None:
        if not is_hub_name(str(path)):
            raise FileNotFoundError(f"no such file or folder: {place}")
        return
    folder = Path(str(place)[: pattern.start()] + "x").parent
    if not folder.is_dir():
        raise FileNotFoundError(f"no file matches {place}: there is no folder {folder}")


def check_data(path: str | Path, root: str | Path | None = None) -> None:
    """Check that the files of a task may be there, unless `path` may be no path to its task.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    place = Path(root or "", expanded(path))
    is_path = root is not None or str(path).startswith(("/", ".", "~"))
    if is_path and not place.is_dir():
        raise FileNotFoundError(
            f"data folder {str(place)!r} not found; give a folder with the files of the task"
        )
