"""One process at a time in a folder."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hybrid_fast.common.paths import expanded

logger = logging.getLogger(__name__)
# What file systems answer that do not lock.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_SECONDS = 0.2


@contextmanager
def sole_use(path: str | Path) -> Iterator[None]:
    """Keep other processes that ask for it out of a folder, or from a file, which need not exist.

    The lock is held on a file beside `path`, ".NAME.lock" (within a folder whose parent cannot be
    written to), that is removed at the end. The system frees it when the process dies, however it
    dies. Missing parents are made and, if still empty, removed again. Where the file system has no
    locks there is a warning.

    Raises:
        FileExistsError: another process works there; the message says which.
        OSError: the parent folder cannot be made or written to.
    """
    path = expanded(path).resolve()
    within = path.is_dir() and not os.access(path.parent, os.W_OK)
    lock_file = (path if within else path.parent) / f".{path.name}.lock"
    new = [parent for parent in path.parents if not parent.exists()]
    try:
        with _naming(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with _held(path, lock_file):
            yield
    finally:
        for parent in new:
            with suppress(OSError):  # not empty
                parent.rmdir()


@contextmanager
def _held(path: Path, lock_file: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    # More than one attempt: a holder that ends removes the file that was just opened.
    lock = FileLock(lock_file, timeout=_SECONDS, fallback_to_soft=False)
    try:
        with _naming(lock_file.parent):
            lock.acquire()
    except Timeout:
        raise FileExistsError(
            f"{path} is in use by {_holder(lock_file)}; wait for its end, or choose another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning(
            "%s is on a file system without locks (%s): start nothing else that writes there.",
            path,
            error.strerror,
        )
        yield
        return
    try:
        lock_file.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        lock_file.unlink(missing_ok=True)  # while it is held, so that nobody else's is removed
        lock.release()


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Raise what the disk refuses with the name of a folder, not that of the file of the lock."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise
        reason = error.strerror or error
        raise type(error)(
            f"{folder} cannot be written to ({reason}); choose another folder"
        ) from error


def _holder(lock_file: Path) -> str:
    try:
        return lock_file.read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"
