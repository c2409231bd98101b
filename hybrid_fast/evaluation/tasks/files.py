"""The files of a task: found in a folder, or fetched from the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hybrid_fast.common.hub import fetch_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.data.formats.files import natural_order
from hybrid_fast.data.formats.lines import COMPRESSIONS


def task_folders(
    task: str,
    data: str | Path | None,
    expected: str,
    hub: Sequence[str] = (),
    patterns: Sequence[str] = (),
) -> list[Path]:
    """Return the folders that hold a task's files.

    Files are fetched as they are on the hub and read like local ones, since `datasets` no longer
    runs the loading scripts of these data sets.

    Args:
        task: name of the task.
        data: a folder, or the first name of `hub`.
        expected: what the folder should hold, for messages.
        hub: names of the data sets on the hub that have the files.
        patterns: which of their files to fetch.

    Raises:
        ValueError: if `data` is None.
        FileNotFoundError: if there is no such folder, or the hub cannot be reached.
    """
    by_name = f", or {hub[0]!r} to fetch it from the hub" if hub else ""
    if data is None:
        raise ValueError(f"task {task!r} needs data: a folder with {expected}{by_name}")
    folder = expanded(data)
    if folder.is_dir():
        return [folder]
    if not hub or str(data) != hub[0]:
        raise FileNotFoundError(
            f"data folder {str(data)!r} not found; give a folder with {expected}{by_name}"
        )
    instead = f"a folder with {expected}"
    return [
        fetch_folder(name, f"data set {name!r}", instead, repo_type="dataset", patterns=patterns)
        for name in hub
    ]


def find(folders: Sequence[Path], patterns: Sequence[str]) -> list[Path]:
    """Return the files of the first pattern that matches any, "docs-2" before "docs-10".

    Args:
        folders: searched at any depth; their own names count in patterns with folders.
        patterns: "name" or "folder/name", with wildcards; the ending of a compression may follow.
    """
    for pattern in patterns:
        found = {
            path
            for folder in folders
            for ending in ("", *COMPRESSIONS)
            for path in folder.resolve().rglob(Path(pattern).name + ending)
            if path.match(pattern + ending) and path.is_file()
        }
        if found:
            return sorted(found, key=natural_order)
    return []


def only(paths: Sequence[Path]) -> Path:
    """Return the only path.

    Raises:
        ValueError: if there are several.
    """
    if len(paths) > 1:
        raise ValueError(
            f"{paths[0]} and {paths[1]} both match; keep one of them in the data folder"
        )
    return paths[0]
