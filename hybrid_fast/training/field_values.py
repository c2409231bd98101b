"""Values of training fields: numbers of other libraries become Python's, and types are checked.

A wrong type would otherwise be noticed hours later, when a checkpoint is written, or never: the
text "false" is true.
"""

from __future__ import annotations

import os
import types
import typing
from dataclasses import fields
from typing import Any

_NEEDED = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def make_plain(args: Any) -> None:
    """Replace numbers of NumPy and torch by Python's, 1e3 by 1000 for whole ones, paths by text.

    Args:
        args: an instance of a dataclass.

    Raises:
        TypeError: a value of another type than its field takes; the message begins with the name.
    """
    hints = typing.get_type_hints(type(args))
    for field in fields(args):
        value = _plain(getattr(args, field.name))
        scalar = _scalar(hints[field.name])
        if scalar is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if scalar is not None and not _fits(value, scalar):
            raise TypeError(f"{field.name} is {value!r}; {_NEEDED[scalar]} is needed")
        setattr(args, field.name, value)


def _plain(value: Any) -> Any:
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
    return value


def _scalar(hint: Any) -> type | None:
    """Return the one scalar type that a field takes, beside None; None if it takes others."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    taken = set(typing.get_args(hint) if union else (hint,)) - {type(None)}
    if taken == {int, float}:
        return float
    (scalar, *others) = taken or {None}
    return scalar if scalar in _NEEDED and not others else None


def _fits(value: Any, scalar: type) -> bool:
    if value is None or isinstance(value, bool):
        return value is None or scalar is bool
    return isinstance(value, (int, float) if scalar is float else scalar)
