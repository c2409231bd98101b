"""Where results of long computations are kept between runs."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)


def cache_folder(subject: str) -> Path:
    """Return the folder of this user's cache for a subject, such as "tokens"; it may not exist.

    It is below `$HYBRID_FAST_CACHE`, else below `hybrid_fast` in `$XDG_CACHE_HOME` or `~/.cache`.
    """
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HYBRID_FAST_CACHE") or Path(users, "hybrid_fast"), subject)


def cache_entry(subject: str, name: str) -> Path:
    """Return the path of an entry of the cache, which may not exist.

    What is neither in the cache nor can be written there goes to this user's folder for temporary
    files, with a warning.

    Raises:
        PermissionError: the folder for temporary files belongs to another user.
    """
    folder = cache_folder(subject)
    if (folder / name).exists() or _is_writable(folder):
        return folder / name
    temporary = _temporary_folder()
    logger.warning(
        "the cache %s cannot be written; %s is used instead, until it is cleaned up. Set "
        "HYBRID_FAST_CACHE to a folder that can be written.",
        folder,
        temporary,
    )
    return temporary / subject / name


def _is_writable(folder: Path) -> bool:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _temporary_folder() -> Path:
    """Return a folder that all processes of this user share, and nobody else can write to."""
    folder = Path(tempfile.gettempdir(), f"hybrid_fast-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder} belongs to another user; set HYBRID_FAST_CACHE to a folder of your own"
        )
    return folder
