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
    A leading "~" stands for the user's home. As the XDG specification asks, a relative
    `$XDG_CACHE_HOME` counts for nothing. A user without a home has it among temporary files.

    Raises:
        NotADirectoryError: `$HYBRID_FAST_CACHE` is a file.
        PermissionError: the folder for temporary files belongs to another user.
    """
    given = os.environ.get("HYBRID_FAST_CACHE")
    if given:
        folder = Path(given).expanduser().absolute()
        if os.path.exists(folder) and not os.path.isdir(folder):
            raise NotADirectoryError(
                f"the environment variable HYBRID_FAST_CACHE names {folder}, a file; it must name "
                "a folder, or not be set"
            )
        return folder / subject
    users = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or ""))
    if not users.is_absolute():
        users = Path(os.path.expanduser("~/.cache"))
    if not users.is_absolute():
        return _temporary_folder() / subject
    return users / "hybrid_fast" / subject


def cache_entry(subject: str, name: str) -> Path:
    """Return the path of an entry of the cache, which may not exist.

    What is neither in the cache nor can be written there goes to this user's folder for temporary
    files, with a warning.

    Raises:
        PermissionError: the folder for temporary files belongs to another user.
    """
    folder = cache_folder(subject)
    if os.path.exists(folder / name) or _is_writable(folder):
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
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)


def _temporary_folder() -> Path:
    """Return a folder that all processes of this user share, and nobody else can write to."""
    folder = Path(tempfile.gettempdir(), f"hybrid_fast-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{folder} belongs to another user; set HYBRID_FAST_CACHE to a folder of your own"
        )
    return folder
