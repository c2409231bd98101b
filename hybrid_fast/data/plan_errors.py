"""Why no batch of a kind can be made, in the words of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hybrid_fast import _core
from hybrid_fast.data.plan_index import PlanIndex
from hybrid_fast.data.plan_options import KINDS

_CROSS = KINDS.index("cross")
_NO_WEIGHTS = {"exponent": 0.0, "language_weights": [], "pair_weights": [], "source_weights": []}
_NONE_WORKS = re.compile(r"no (mono|cross|mixed) batch of .* works is 0")


def make_planner(index: PlanIndex, options: Mapping[str, Any]) -> _core.Planner:
    """Return the planner of an index.

    Args:
        index: the index.
        options: the keyword arguments of `_core.Planner`.

    Raises:
        ValueError: an option is out of range; or no batch can be made, with the reason if it is
            that no batch size would work.
    """
    try:
        return _core.Planner(index.core, **options)
    except ValueError as error:
        found = _NONE_WORKS.fullmatch(str(error))
        if found is None:
            raise
        raise ValueError(
            f"no {found[1]} batch can be made: {_reason(index, options, found[1])}"
        ) from None


def _reason(index: PlanIndex, options: Mapping[str, Any], kind: str) -> str:
    for text, count in (("query", index.num_queries), ("passage", index.num_passages)):
        if not count:
            return f"no item has a {text}"
    if options["world_size"] > 1 and _serves(index, options):
        return (
            f"it has too few groups or passages for each of {options['world_size']} ranks to get "
            "one; run fewer processes"
        )
    if kind == "cross":
        return _reason_of_cross(index, options)
    instead = "; give kind='cross'" if _serves(index, {**options, "kind": _CROSS}) else ""
    if not index.num_complete:
        return f"no item has both a query and a passage{instead}"
    if not index.num_examples[kind]:
        return (
            f"of {index.num_complete:,} items with a query and a passage none may be in it: both "
            f"are equal, as in line-aligned sentences, or kinds leave it out{instead}"
        )
    return "the weights leave out every language and source that has such items"


def _reason_of_cross(index: PlanIndex, options: Mapping[str, Any]) -> str:
    mono = "; for batches of one language give kind='mono'" if index.num_examples["mono"] else ""
    if len(index.languages) == 1:
        return (
            f"all items are in one language, {index.languages[0]!r}; add items in other languages "
            f"with the group_id of those that they translate{mono}"
        )
    if _serves(index, {**options, **_NO_WEIGHTS}):
        return "the weights leave out every pair of languages that has groups"
    return (
        f"none of the {len(index.languages)} languages are parallel: no group has a query in one "
        "language and a passage in another that cross batches may draw; translations need one "
        f"group_id (and, from several files, one source){mono}"
    )


def _serves(index: PlanIndex, options: Mapping[str, Any]) -> bool:
    """Tell whether a batch of one example can be made."""
    try:
        _core.Planner(index.core, **{**options, "world_size": 1, "batch_size": 1})
    except ValueError:
        return False
    return True
