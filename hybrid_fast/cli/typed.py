"""Values that people wrote, checked against the type annotations of what takes them."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from hybrid_fast.data.names import nearest

_NAMES = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a mapping",
    list: "a list",
}
_CONCRETE = {collections.abc.Mapping: dict, collections.abc.Sequence: list}


def typed_value(name: str, value: Any, annotation: Any, place: str) -> Any:
    """Return a value if it fits its annotation; whole numbers become floats where one is needed.

    Args:
        name: of the field.
        value: plain data: text, number, truth value, None, list, dict.
        annotation: evaluated, not text.
        place: where the value was written, for errors.

    Raises:
        ValueError: the value does not fit.
    """
    kinds = _alternatives(annotation)
    if not any(_fits(value, kind) for kind in kinds):
        given = "has no value" if value is None else f"is {value!r}"
        raise ValueError(f"{place}: {name} {given}; {_describe(kinds)} is needed")
    return float(value) if type(value) is int and not {int, Any} & set(kinds) else value


def check_options(
    name: str, options: Mapping[str, Any], function: Callable[..., Any], own: str, place: str
) -> None:
    """Check keyword arguments against a function's annotations.

    Args:
        name: of the field that holds the options.
        options: the keyword arguments.
        function: what will get them.
        own: its parameters that are given by others, separated by spaces.
        place: where the options were written, for errors.

    Raises:
        ValueError: an unknown option (the nearest is named) or a value of the wrong type.
    """
    annotations = typing.get_type_hints(function)
    known = [known for known in inspect.signature(function).parameters if known not in own.split()]
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                f"{place}: {name} has no option {option!r}{nearest(str(option), known)}; "
                f"there are {', '.join(known)}"
            )
        typed_value(f"{name}: {option}", value, annotations[option], place)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _split(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the plain type and what it holds: dict[str, float] is dict and (str, float)."""
    origin = typing.get_origin(kind)
    return _CONCRETE.get(origin, origin) or kind, typing.get_args(kind)


def _fits(value: Any, kind: Any) -> bool:
    plain, inner = _split(kind)
    if plain is Any:
        return True
    if not isinstance(plain, type) or not isinstance(value, int if plain is float else plain):
        return plain is float and isinstance(value, float)
    if isinstance(value, bool):
        return plain is bool
    held = (
        [*value.items()] if plain is dict else [(each,) for each in value] if plain is list else []
    )
    return all(
        any(_fits(part, choice) for choice in _alternatives(annotation))
        for parts in held
        for part, annotation in zip(parts, inner, strict=False)
    )


def _describe(kinds: tuple[Any, ...]) -> str:
    names = []
    for plain, inner in map(_split, kinds):
        if plain in _NAMES:
            held = f" of {_describe(_alternatives(inner[-1]))}" if inner else ""
            names.append(_NAMES[plain] + held)
    return " or ".join(names) or "nothing"
