"""Options that several commands have, and the values of lists with commas."""

from __future__ import annotations

from typing import Annotated

import typer

Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error and all messages.")
]


def split_commas(text: str | None) -> list[str] | None:
    """Return the parts of a list with commas; None stays."""
    return None if text is None else [part.strip() for part in text.split(",")]


def whole_numbers(name: str, text: str) -> list[int]:
    """Return the positive numbers of a list with commas; ValueError if it is none."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{name} is {text!r}; whole numbers from 1 like 1,5,10 are needed")
    return [int(part) for part in parts]
