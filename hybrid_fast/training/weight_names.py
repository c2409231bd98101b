"""Names of weights as users give them: regular expressions that match whole parts of a name.

The name of a weight is its path, such as `backbone.model.encoder.layer.1.output.dense.weight`. Its
parts stand between the dots, so that `layer.1` matches the weights of layer 1 and not of layer 11.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hybrid_fast.common.choices import nearest


def check_pattern(option: str, pattern: str) -> None:
    """Raise a ValueError unless a pattern is a regular expression."""
    try:
        _compiled(pattern)
    except re.error as error:
        raise ValueError(
            f"{option}: {pattern!r} is no regular expression ({error}); give the name of a module "
            "such as 'embeddings'"
        ) from error


def matches(pattern: str, name: str) -> bool:
    """Tell whether a pattern matches whole parts of a name, anywhere in it."""
    return _compiled(pattern).search(name) is not None


def check_matches(option: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raise a ValueError, which says what comes nearest, for a pattern that matches no name."""
    names = list(names)
    for pattern in patterns:
        if not any(matches(pattern, name) for name in names):
            length = pattern.count(".") + 1
            raise ValueError(
                f"{option}: no weight of the model has a name with {pattern!r}"
                f"{nearest(pattern, _parts(names, length)) or _examples(names)}"
            )


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\.)(?:{pattern})(?:\.|$)")


def _parts(names: Iterable[str], length: int) -> list[str]:
    """Return what stands in names, so many parts long: "a.b" and "b.c" of "a.b.c" if two."""
    found: dict[str, None] = {}
    for parts in (name.split(".") for name in names):
        for first in range(len(parts) - length + 1):
            found[".".join(parts[first : first + length])] = None
    return list(found)


def _examples(names: list[str]) -> str:
    return f"; its names are such as {names[0]!r} and {names[-1]!r}" if names else ""
