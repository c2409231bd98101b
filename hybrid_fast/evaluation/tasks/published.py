"""Comparison of what a loader read with what was published."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

# By language, one number for each unit.
Sizes = Mapping[str, Sequence[int]]


def compare_sizes(
    task: str, units: Sequence[str], found: Sizes, published: Sizes, *, whole: bool, stacklevel: int
) -> None:
    """Warn of each language whose size is not the published one.

    Args:
        task: name of the task.
        units: what the numbers count.
        found: what was read.
        published: what it should be.
        whole: whether languages that were not read are worth a warning too.
        stacklevel: whose line the warning names, as in `warnings.warn` called by the caller.
    """
    differences = []
    for language, sizes in published.items():
        if language not in found:
            differences += [f"{language} is missing"] * whole
        elif tuple(found[language]) != tuple(sizes):
            counted = [f"{n} {unit}" for n, unit in zip(found[language], units, strict=True)]
            differences.append(
                f"{language} has {_in_words(counted)}, not {_in_words(list(map(str, sizes)))}"
            )
    if differences:
        warnings.warn(
            f"this is not {task} as published, so its figures compare with no others: "
            + "; ".join(differences),
            stacklevel=stacklevel + 1,
        )


def _in_words(items: Sequence[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
