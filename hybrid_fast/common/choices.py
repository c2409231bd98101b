"""Options that take one of several names: their check, and a hint at the nearest name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def check_choice(name: str, value: object, choices: Iterable[Name]) -> Name:
    """Return `value` if it is one of the names that an option takes.

    Args:
        name: of the option, for the message.
        value: what was given for it.
        choices: what may be given.

    Raises:
        ValueError: it is none of them; the message names the nearest.
    """
    choices = tuple(choices)
    if isinstance(value, str) and value in choices:
        return choices[choices.index(value)]
    raise ValueError(
        f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}"
        f"{nearest(value, choices)}"
    )


def nearest(value: object, known: Iterable[object]) -> str:
    """Return "; did you mean ...?" with the known name nearest to a value, "" if none is.

    Lower and upper case are the same here.
    """
    spelt = {str(name).lower(): name for name in known}
    matches = get_close_matches(str(value).lower(), spelt, n=1)
    return f"; did you mean {spelt[matches[0]]!r}?" if matches else ""
