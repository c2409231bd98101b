"""A problem field by field, as operators of torch take it: tensors, plain values and lists of them.

The schema follows from the types of the fields, so a new field reaches every operator by itself.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from torch import Tensor

from hybrid_fast.ops.negative_mask import MaskingRule, NegativeMask
from hybrid_fast.ops.problem import Problem

_SCHEMA_TYPES = {
    Tensor: "Tensor",
    Tensor | None: "Tensor?",
    float | None: "float?",
    int | None: "int?",
    str | None: "str?",
    bool: "bool",
    str: "str",
}
_MASK = "negative_mask"


def _field_types(cls: type) -> dict[str, Any]:
    types = typing.get_type_hints(cls)
    return {field.name: types[field.name] for field in fields(cls)}


_OF_PROBLEM = {name: kind for name, kind in _field_types(Problem).items() if name != _MASK}
_OF_MASK = {name: kind for name, kind in _field_types(NegativeMask).items() if name != "rules"}
# Rules come by the keys of their classes, and all of their tensors in one list.
SCHEMA = ", ".join(
    [
        *(f"{_SCHEMA_TYPES[kind]} {name}" for name, kind in (_OF_PROBLEM | _OF_MASK).items()),
        "str[] rules",
        "Tensor[] tensors_of_rules",
    ]
)


def flatten(problem: Problem) -> list[Any]:
    """Return the values of all fields in the order of `SCHEMA`."""
    mask = problem.negative_mask
    return [
        *(getattr(problem, name) for name in _OF_PROBLEM),
        *(getattr(mask, name) for name in _OF_MASK),
        [rule.class_key for rule in mask.rules],
        [tensor for rule in mask.rules for _, tensor, _ in rule.tensors()],
    ]


def unflatten(values: Sequence[Any]) -> Problem:
    """Return the problem that `flatten` has made these values of."""
    *plain, keys, tensors = values
    of_problem = dict(zip(_OF_PROBLEM, plain, strict=False))
    of_mask = dict(zip(_OF_MASK, plain[len(_OF_PROBLEM) :], strict=True))
    rest = iter(tensors)
    rules = tuple(MaskingRule.classes[key].of_tensors(rest) for key in keys)
    return Problem(**of_problem, negative_mask=NegativeMask(**of_mask, rules=rules))


def take_apart(values: Sequence[Any]) -> tuple[list[Tensor], list[Any]]:
    """Return the tensors of `flatten`, which autograd saves, and the rest for `put_together`."""
    *plain, keys, of_rules = values
    tensors = [value for value in plain if isinstance(value, Tensor)]
    rest = [_HOLE if isinstance(value, Tensor) else value for value in plain]
    return [*tensors, *of_rules], [*rest, keys]


def put_together(tensors: Sequence[Tensor], rest: Sequence[Any]) -> list[Any]:
    """Return the values that `take_apart` has taken apart."""
    left = iter(tensors)
    *plain, keys = rest
    values = [next(left) if value is _HOLE else value for value in plain]
    return [*values, keys, list(left)]


_HOLE = object()
