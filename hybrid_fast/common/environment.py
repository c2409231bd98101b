"""Numbers in environment variables; docs/environment.md lists all variables that are read."""

from __future__ import annotations

import os


def whole_number(variable: str, default: int, least: int = 0) -> int:
    """Return the number in an environment variable, `default` if it is empty or not set.

    Raises:
        ValueError: it holds no whole number of at least `least`.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ValueError(
            f"the environment variable {variable} is {text!r}; it must be a whole number of at "
            f"least {least}, or not set"
        )
    return int(text)
