"""Milvus Lite: a file that this process serves to itself, on a port of the loopback interface."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from pathlib import Path

from hybrid_fast.retrieval.stores.milvus.packages import load_package, quiet

# The server logs, with a traceback, the errors that it answers with.
_SERVER_LOGGER = "milvus_lite.adapter.grpc.servicer"
_users: Counter[Path] = Counter()
_lock = threading.Lock()


def serve(file: Path) -> str:
    """Serve a file, which is made if there is none; return the address of the server.

    Stores of one process share the server of a file.

    Raises:
        BlockingIOError: another process has the file.
        OSError: it cannot be made or read.
        ImportError: Milvus Lite is not installed.
    """
    lite = load_package("milvus_lite")
    if file.exists() and not file.is_dir():
        raise NotADirectoryError(
            f"{file} is a file; Milvus Lite 3 keeps a folder: choose another name, or bring the "
            "data of an older version over with its milvus-lite dump"
        )
    with _lock, quiet() as records:
        file.parent.mkdir(parents=True, exist_ok=True)
        uri: str | None = lite.server_manager_instance.start_and_get_uri(str(file))
        if uri is None:
            error = next((each.exc_info[1] for each in records if each.exc_info), None)
            raise _reason(file, error)
        logging.getLogger(_SERVER_LOGGER).addFilter(_is_no_answer)
        _users[file] += 1
        return uri


def release(file: Path) -> None:
    """Let go of a file; the last store that does so closes it for this process."""
    with _lock, quiet():
        _users[file] -= 1
        if not _users[file]:
            load_package("milvus_lite").server_manager_instance.release_server(str(file))


def _reason(file: Path, error: BaseException | None) -> OSError:
    if isinstance(error, load_package("milvus_lite").DataDirLockedError):
        return BlockingIOError(
            f"{file} is in use by another process, and Milvus Lite serves one at a time; wait for "
            f"its end, or run milvus-lite server --data-dir {file} and use its address in both"
        )
    return OSError(f"Milvus Lite cannot open {file}: {error or 'it does not say why'}")


def _is_no_answer(record: logging.LogRecord) -> bool:
    return record.levelno != logging.ERROR
