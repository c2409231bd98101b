"""Messages of the command on stderr, one line each."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from hybrid_fast.common.launch import find_launch


def say(message: object) -> None:
    """Write one line to stderr."""
    print("hybrid-fast:", " ".join(str(message).split()), file=sys.stderr)


def show_any_text() -> None:
    """Print "?" for what the encoding of stdout lacks, which would end the command; stderr does."""
    fails = ("strict", "surrogateescape")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in fails:
        sys.stdout.reconfigure(errors="replace")


@contextmanager
def plain_messages() -> Iterator[None]:
    """Show log records and warnings of this package as plain lines, and none of other libraries."""
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
        if record.levelno < logging.ERROR and find_launch().rank > 0:
            return  # all ranks log the same
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        say(level + record.getMessage())


def quiet_libraries() -> None:
    """Silence the logs of other libraries, and their progress bars unless stderr is a terminal."""
    # Importing them takes seconds, which --help must not wait for.
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
