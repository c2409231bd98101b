"""The packages of the extra "milvus", and what they log while we call them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

from hybrid_fast.common.optional import load_optional

# They log errors, with a traceback, that they also raise.
_LOGGERS = (
    "pymilvus.decorators",
    "pymilvus.client.connection_manager",
    "pymilvus.client.grpc_handler",
    "milvus_lite.server_manager",
)
_held: ContextVar[list[logging.LogRecord] | None] = ContextVar("held", default=None)


def load_package(name: str) -> ModuleType:
    """Import a module of the extra "milvus".

    Raises:
        ImportError: it is not installed.
    """
    return load_optional(name, "a store in Milvus", "milvus")


@contextmanager
def quiet() -> Iterator[list[logging.LogRecord]]:
    """Hold back what the packages log in this thread, and yield it."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_hold)
    records: list[logging.LogRecord] = []
    token = _held.set(records)
    try:
        yield records
    finally:
        _held.reset(token)


def _hold(record: logging.LogRecord) -> bool:
    records = _held.get()
    if records is not None:
        records.append(record)
    return records is None
