"""Values of training fields: texts and foreign numbers become Python's, and types are checked.

A wrong type would otherwise be noticed hours later, when a checkpoint is written, or never: the
text "false" is true.
"""

from __future__ import annotations

import json
import os
import types
import typing
from contextlib import suppress
from dataclasses import fields
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from transformers import TrainingArguments

from hybrid_fast.training.fields import HARMLESS, REFUSED

if TYPE_CHECKING:
    LanguageSampling = str | float | dict[str, float]
    Layers = int | list[str]
    NumbersByName = dict[str, float]
    Options = dict[str, Any]
else:
    # HfArgumentParser takes a union for text if None is a member, and str the second of all;
    # `read_texts` reads these texts. What is given elsewhere stands behind.
    LanguageSampling = Annotated[
        float | str | dict[str, float] | None, str | float | dict[str, float]
    ]
    Layers = int | str | list[str] | None
    NumbersByName = Annotated[dict[str, float] | str | None, dict[str, float]]
    Options = Annotated[dict[str, Any] | str | None, dict[str, Any]]

_UNREAD = REFUSED.keys() | HARMLESS.keys()
_NEEDED = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
}


def field_types(owner: type) -> dict[str, Any]:
    """Return the types of the fields of HybridTrainingArguments, texts of a command line aside."""
    hints = typing.get_type_hints(owner, include_extras=True)
    return {name: _given(hint) for name, hint in hints.items()}


def _given(hint: Any) -> Any:
    if typing.get_origin(hint) is Annotated:
        return hint.__metadata__[0]
    members = typing.get_args(hint)
    if any(typing.get_origin(member) is Annotated for member in members):
        return reduce(or_, map(_given, members))
    return hint


def read_texts(args: Any, owner: type) -> None:
    """Replace texts that stand for numbers, lists or mappings, as HfArgumentParser gives them.

    Mappings of transformers' own fields are only checked: it reads them itself. What a subclass
    adds is left as it is: it alone knows what its texts stand for.

    Args:
        args: HybridTrainingArguments.
        owner: that class, whose fields are read.

    Raises:
        ValueError: a text that stands for nothing that its field takes; the message begins with the
            name.
    """
    hints = typing.get_type_hints(owner)
    of_transformers = TrainingArguments.__dataclass_fields__
    for name, hint in hints.items():
        value, taken = getattr(args, name, None), _taken(hint)
        if isinstance(value, str) and str in taken and name not in _UNREAD:
            if name not in of_transformers:
                setattr(args, name, _read(name, value, taken))
            elif dict in taken:
                _read(name, value, taken)


def _read(name: str, text: str, taken: set[Any]) -> Any:
    """Return what a text stands for in a field of some types."""
    shape = text.strip()[:1]
    if (shape == "{" and dict in taken) or (shape == "[" and list in taken):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"{name} is {text!r}; {_needed_json(taken)}: {error}") from error
    if taken == {str, dict}:
        raise ValueError(f"{name} is {text!r}; {_needed_json(taken)}")
    for number in (int, float):
        with suppress(ValueError):
            if number in taken:
                return number(text)
    return [text] if list in taken else text


def _needed_json(taken: set[Any]) -> str:
    shape, example = ("a list", '["a", "b"]') if list in taken else ("a mapping", '{"a": 2}')
    return f"{shape} is needed, on a command line as JSON such as {example}"


def make_plain(args: Any) -> None:
    """Replace numbers of NumPy and torch by Python's, 1e3 by 1000 for whole ones, paths by text.

    Args:
        args: an instance of a dataclass.

    Raises:
        TypeError: a value of another type than its field takes; the message begins with the name.
    """
    hints = typing.get_type_hints(type(args))
    for field in fields(args):
        if not hasattr(args, field.name):  # a subclass sets it later
            continue
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
    taken = _taken(hint)
    if taken == {int, float}:
        return float
    (scalar, *others) = taken or {None}
    return scalar if scalar in _NEEDED and not others else None


def _taken(hint: Any) -> set[Any]:
    """Return the types that a field takes beside None, dict for dict[str, float]."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = typing.get_args(hint) if union else (hint,)
    return {typing.get_origin(member) or member for member in members} - {type(None)}


def _fits(value: Any, scalar: type) -> bool:
    if value is None or isinstance(value, bool):
        return value is None or scalar is bool
    return isinstance(value, (int, float) if scalar is float else scalar)
