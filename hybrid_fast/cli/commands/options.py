"""Options that several commands share, and values that are lists."""

from __future__ import annotations

from typing import Annotated

import typer

Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show tracebacks, and messages of other libraries."),
]


def split_commas(text: str | None) -> list[str] | None:
    """Split a comma-separated list; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",")]


def whole_numbers(name: str, text: str) -> list[int]:
    """Return the numbers of a comma-separated list.

    Args:
        name: name of the option, for the message.
        text: the list.

    Raises:
        ValueError: a part is no whole number from 1.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{name} is {text!r}; whole numbers from 1 like 1,5,10 are needed")
    return [int(part) for part in parts]
