"""Comparison of runs query by query, from the files beside their results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_fast.cli.messages import say
from hybrid_fast.evaluation.results import PER_QUERY_FILE, PerQuery
from hybrid_fast.evaluation.significance import compare_runs
from hybrid_fast.evaluation.terminal import Run, family_labels


def compare_folders(runs: Sequence[Run], folders: Sequence[Path]) -> dict[str, Any] | None:
    """Compare runs, each with its figures by query in a folder.

    Args:
        runs: one dict in the shape of `results.json` for each run.
        folders: where the `per_query.npz` of each run is.

    Returns:
        What `significance.compare_runs` returns; None, and a line on stderr that says why, where
        a file is missing or the runs are not of the same queries.

    Raises:
        ValueError: if a file is damaged.
    """
    missing = [folder for folder in folders if not (folder / PER_QUERY_FILE).is_file()]
    if missing or len(folders) != len(runs):
        where = f"{missing[0]} has" if missing else "the runs of one file have"
        say(f"warning: significance is not tested: {where} no {PER_QUERY_FILE}; evaluate again")
        return None
    return compare_figures(runs, [PerQuery.load(folder / PER_QUERY_FILE) for folder in folders])


def compare_figures(runs: Sequence[Run], figures: Sequence[PerQuery]) -> dict[str, Any] | None:
    """Compare runs, each with its figures by query; returns as `compare_folders`."""
    by_label: dict[str, list[PerQuery]] = {}
    for label, per_query in zip(family_labels(runs), figures, strict=True):
        by_label.setdefault(label, []).append(per_query)
    try:
        return compare_runs(by_label)
    except ValueError as error:
        say(f"warning: significance is not tested: {error}")
        return None
