"""What the command says besides its results: our own messages, a line each, on stderr."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def say(message: object) -> None:
    """Write one line to stderr."""
    print("hybrid-fast:", " ".join(str(message).split()), file=sys.stderr)


@contextmanager
def own_messages() -> Iterator[None]:
    """Show what this library logs and warns of as plain lines, and nothing of other libraries."""
    logger, handler = logging.getLogger("hybrid_fast"), _Lines(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="hybrid_fast")
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno > logging.INFO:
            say(f"{record.levelname.lower()}: {record.getMessage()}")
        elif os.environ.get("RANK", "0") == "0":  # all ranks log the same
            say(record.getMessage())


def quiet_libraries() -> None:
    """Keep other libraries from logging, and from drawing bars where there is no terminal."""
    # These imports take seconds; --help must not wait for them.
    import datasets
    import huggingface_hub
    import transformers

    huggingface_hub.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    datasets.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
