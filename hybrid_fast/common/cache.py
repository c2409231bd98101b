"""Where results of long computations are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(subject: str) -> Path:
    """Return the folder of this user's cache for a subject, such as "tokens"; it may not exist.

    It is below `$HYBRID_FAST_CACHE`, else below `hybrid_fast` in `$XDG_CACHE_HOME` or `~/.cache`.
    """
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HYBRID_FAST_CACHE") or Path(users, "hybrid_fast"), subject)
