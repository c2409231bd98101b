"""Paths as users write them, with ~ and $NAME."""

from __future__ import annotations

import os
import re
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Return a path with `~`, `~user`, `$NAME` and `${NAME}` replaced.

    Raises:
        ValueError: the path is empty, or a variable is not set, or there is no such user.
    """
    text = os.path.expanduser(os.path.expandvars(path))
    if not text or (isinstance(path, str) and not path.strip()):
        raise ValueError("the path is empty; name a file or folder ('.' for this one)")
    if text.startswith("~"):
        raise ValueError(f"{path}: there is no user {text.split('/')[0]!r}")
    unset = re.search(r"\$(\w+|\{\w+\})", text)
    if unset and not os.path.lexists(text):
        raise ValueError(f"{path}: the variable {unset[0]} is not set")
    return Path(text)
