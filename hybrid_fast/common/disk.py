"""Writes that fail because of the disk, told apart from others whichever library raised them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = "the disk is full, or does not take the file"
_REASONS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file system, or ulimit -f, does not allow a file of this size",
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk reports an error",
}
# What safetensors, NumPy and torch say of a write that fell short; their errors have no number.
_TEXTS = re.compile(
    r"No space left on device|os error 28|\d+ requested and \d+ written"
    r"|inline_container\.cc|PytorchStreamWriter failed"
)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise OSError that names `path` and what to do, for a full disk or a folder that vanished.

    Other errors pass as they are.
    """
    path = Path(path)
    try:
        yield
    except Exception as error:  # safetensors and torch have errors of their own
        reason = _reason(error, path)
        if reason is None:
            raise
        raise OSError(
            f"{path} could not be written: {reason}; make room, or choose another folder"
        ) from error


def _reason(error: Exception, path: Path) -> str | None:
    if isinstance(error, OSError) and error.errno in _REASONS:
        return _REASONS[error.errno]
    if _TEXTS.search(str(error)):
        return _FULL
    if isinstance(error, FileNotFoundError) and not path.parent.is_dir():
        return f"the folder {path.parent} has vanished"
    return None
