"""Options that several commands share, and values that are lists."""

from __future__ import annotations

from typing import Annotated

import typer

Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show tracebacks, and messages of other libraries."),
]


def split_commas(option: str, text: str | None) -> list[str] | None:
    """Return the parts of a comma-separated list; None stays None.

    Args:
        option: what the list was given for, for the message.
        text: the list.

    Raises:
        ValueError: a part is empty.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ValueError(f"{option} is {text!r}; names separated by single commas are needed")
    return parts


def whole_numbers(option: str, text: str) -> list[int]:
    """Return the numbers of a comma-separated list.

    Args:
        option: what the list was given for, for the message.
        text: the list.

    Raises:
        ValueError: a part is no whole number from 1.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{option} is {text!r}; whole numbers from 1 like 1,5,10 are needed")
    return [int(part) for part in parts]
