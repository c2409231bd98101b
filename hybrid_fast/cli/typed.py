"""Values written by users, checked against the type annotations of their parameters."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Container, Mapping
from enum import Enum
from typing import Any

from hybrid_fast.common.choices import check_choice, nearest

_NAMES = {  # singular and plural
    str: ("text", "texts"),
    bool: ("true or false", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    dict: ("a mapping", "mappings"),
    list: ("a list", "lists"),
}
_CONCRETE = {collections.abc.Mapping: dict, collections.abc.Sequence: list}


def typed_value(name: str, value: Any, annotation: Any, place: str) -> Any:
    """Return a value if it fits its annotation; whole numbers become floats where one is needed.

    Args:
        name: name of the field.
        value: plain data: text, number, truth value, None, list, dict.
        annotation: the annotation, evaluated.
        place: where the value was written, for messages.

    Raises:
        ValueError: the value does not fit.
    """
    if not _fits_any(value, annotation):
        given = "has no value" if value is None else f"is {value!r}"
        raise ValueError(f"{place}: {name} {given}; {_describe(annotation)} is needed")
    if isinstance(value, str):
        _check_enum(name, value, annotation, place)
    whole = type(value) is int and not {int, Any} & set(_alternatives(annotation))
    return float(value) if whole else value


def _check_enum(name: str, value: str, annotation: Any, place: str) -> None:
    """Check a text for an enumeration, which annotations give beside str."""
    enums = (kind for kind in _alternatives(annotation) if isinstance(kind, type))
    values = [each.value for kind in enums if issubclass(kind, Enum) for each in kind]
    if values:
        check_choice(f"{place}: {name}", value, values)


def check_options(
    name: str,
    options: Mapping[str, Any],
    function: Callable[..., Any],
    reserved: Container[str],
    place: str,
) -> None:
    """Check keyword arguments against a function's annotations.

    Args:
        name: name of the field that holds the options.
        options: the keyword arguments.
        function: the function that will get them.
        reserved: its parameters that are no options.
        place: where the options were written, for messages.

    Raises:
        ValueError: an unknown option or a value of the wrong type.
    """
    annotations = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters
    known = [parameter for parameter in parameters if parameter not in reserved]
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                f"{place}: {name} has no option {option!r}, only {', '.join(known)}"
                f"{nearest(str(option), known)}"
            )
        typed_value(f"{name}: {option}", value, annotations[option], place)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _split(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the plain type and what it holds: dict[str, float] is dict and (str, float)."""
    origin = typing.get_origin(kind)
    return _CONCRETE.get(origin, origin) or kind, typing.get_args(kind)


def _fits_any(value: Any, annotation: Any) -> bool:
    return any(_fits(value, kind) for kind in _alternatives(annotation))


def _fits(value: Any, kind: Any) -> bool:
    plain, inner = _split(kind)
    if plain is Any:
        return True
    if plain is typing.Literal:
        return value in inner
    if plain is float:
        return type(value) in (int, float)
    if not isinstance(plain, type) or not isinstance(value, plain):
        return False
    if isinstance(value, bool):
        return plain is bool
    if inner and isinstance(value, list):
        return all(_fits_any(each, inner[0]) for each in value)
    if inner and isinstance(value, dict):
        return all(_fits_any(k, inner[0]) and _fits_any(v, inner[1]) for k, v in value.items())
    return True


def _describe(annotation: Any, several: bool = False) -> str:
    names: list[str] = []
    for plain, inner in map(_split, _alternatives(annotation)):
        if plain is typing.Literal:
            names += map(repr, inner)
        elif plain in _NAMES:
            held = f" of {_describe(inner[-1], True)}" if inner and Any not in inner else ""
            names.append(_NAMES[plain][several] + held)
    *first, last = names or ["nothing"]
    return f"{', '.join(first)} or {last}" if first else last
