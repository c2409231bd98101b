"""Comparison of the size of a data set as loaded with the published one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

# Language to one number per unit.
Sizes = Mapping[str, Sequence[int]]


def compare_sizes(
    task: str, units: Sequence[str], found: Sizes, published: Sizes, *, whole: bool, stacklevel: int
) -> None:
    """Warn of each language whose size is not the published one.

    Args:
        task: name of the task.
        units: what the numbers count.
        found: the sizes of what was read.
        published: the sizes it should have.
        whole: whether to warn of languages that were not read, too.
        stacklevel: whose line the warning names, as for `warnings.warn` called by the caller.
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
            f"this is not {task} as published, so scores are not comparable with published ones: "
            + "; ".join(differences),
            stacklevel=stacklevel + 1,
        )


def _in_words(items: Sequence[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
