"""Errors of work whose main result is safe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# Their messages are for users; of other errors the class says more than the message.
_FOR_USERS = (ValueError, TypeError, OSError, ImportError)


class PartlyDoneError(RuntimeError):
    """Something failed after the main result was saved; the message says where that is."""


@contextmanager
def kept(what: str) -> Iterator[None]:
    """Raise errors within as a PartlyDoneError that says what is safe.

    Args:
        what: "the trained model is in runs/own/model".
    """
    try:
        yield
    except PartlyDoneError:
        raise
    except Exception as error:
        raise PartlyDoneError(f"{what}, but then something failed: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Return the message of an error, with its class unless it was written for users."""
    text = str(error).strip()
    if text and isinstance(error, _FOR_USERS):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
