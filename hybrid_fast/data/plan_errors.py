"""Why no batch of a kind can be made, in the words of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hybrid_fast import _core
from hybrid_fast.data.plan_index import PlanIndex

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
    if options["world_size"] > 1 and _serves(index, {**options, "world_size": 1, "batch_size": 1}):
        return (
            f"it has too few groups or passages for each of {options['world_size']} ranks to get "
            "one; run fewer processes"
        )
    if kind == "cross":
        return _reason_of_cross(index, options)
    if not index.num_complete:
        return "no item has both a query and a passage; kind='cross' pairs those of a group"
    if not index.num_examples[kind]:
        return (
            f"of {index.num_complete:,} items with a query and a passage none may be in it: in "
            "line-aligned sentences the query equals the passage, and `kinds` may leave it out; "
            "give kind='cross'"
        )
    return "the weights leave out every language and source that has such items"


def _reason_of_cross(index: PlanIndex, options: Mapping[str, Any]) -> str:
    otherwise = "for batches of one language give kind='mono'"
    if len(index.languages) == 1:
        return (
            f"all items are in one language, {index.languages[0]!r}; {otherwise}, or add items in "
            "other languages with the group_id of those that they translate"
        )
    unweighted = {"exponent": 0.0, "language_weights": [], "pair_weights": [], "source_weights": []}
    if _serves(index, {**options, **unweighted, "world_size": 1, "batch_size": 1}):
        return "the weights leave out every pair of languages that has groups"
    return (
        f"none of the {len(index.languages)} languages are parallel: no group has a query in one "
        "language and a passage in another; translations need one group_id (and, from several "
        f"files, one source); {otherwise}"
    )


def _serves(index: PlanIndex, options: Mapping[str, Any]) -> bool:
    try:
        _core.Planner(index.core, **options)
    except ValueError:
        return False
    return True
