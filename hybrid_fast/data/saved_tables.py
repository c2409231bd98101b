"""Folders of saved tables, where other data may be named as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hybrid_fast.common.paths import expanded
from hybrid_fast.data.table import TABLE_FILE


def find_saved_table(path: Any, root: str | Path | None = None) -> Path | None:
    """Return the folder that `AlignedTable.save` wrote, None if a path leads to no such folder.

    Args:
        path: any data that `load_table` takes.
        root: the folder that a relative path starts from.
    """
    if not isinstance(path, str | Path) or "://" in str(path):
        return None
    folder = Path(expanded(root or "."), expanded(path))
    return folder if (folder / TABLE_FILE).is_file() else None


def check_none_given(folder: Path, **given: object) -> None:
    """Raise a ValueError if options are given with a saved table."""
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise ValueError(
            f"{folder} is a saved table, which is taken as it is; leave out {', '.join(named)}"
        )
