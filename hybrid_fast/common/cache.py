"""Where results of long computations are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(subject: str) -> Path:
    """Return the folder of this user's cache for a subject, such as "tokens"; it may not exist.

    It is below `$HYBRID_FAST_CACHE`, else below `hybrid_fast` in `$XDG_CACHE_HOME` or `~/.cache`.
    A leading "~" stands for the user's home. As the XDG specification asks, a relative
    `$XDG_CACHE_HOME` counts for nothing.

    Raises:
        NotADirectoryError: `$HYBRID_FAST_CACHE` is a file.
    """
    given = os.environ.get("HYBRID_FAST_CACHE")
    if given:
        folder = Path(given).expanduser().absolute()
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(
                f"the environment variable HYBRID_FAST_CACHE names {folder}, a file; it must name "
                "a folder, or not be set"
            )
        return folder / subject
    users = Path(os.environ.get("XDG_CACHE_HOME") or "").expanduser()
    if not users.is_absolute():
        users = Path.home() / ".cache"
    return users / "hybrid_fast" / subject
