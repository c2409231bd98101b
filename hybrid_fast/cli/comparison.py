"""Runs to report: read from files, and compared query by query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_fast.cli.messages import say
from hybrid_fast.common.json_files import read_json
from hybrid_fast.evaluation.significance import compare_runs
from hybrid_fast.results import Comparison, PerQuery, Results, load_runs
from hybrid_fast.results.labels import family_labels
from hybrid_fast.results.per_query import PER_QUERY_FILE
from hybrid_fast.results.results import FILE_NAME
from hybrid_fast.results.runs import check_runs


def read_runs(path: Path) -> list[Results]:
    """Read the runs of a results.json, or of the one in a folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, holds neither a run nor runs, or runs of different tasks.
    """
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; a {FILE_NAME} is needed")
    content: Any = read_json(path, object)
    contents = content.get("runs", [content]) if isinstance(content, dict) else content
    try:
        runs = load_runs(contents)
        check_runs(runs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return runs


def compare_folders(runs: Sequence[Results], folders: Sequence[Path]) -> Comparison | None:
    """Compare runs, each with its scores by query in a folder.

    Args:
        runs: results of one task.
        folders: where the `per_query.npz` of each run is.

    Returns:
        What `significance.compare_runs` returns; None, and a line on stderr that says why, where
        a file is missing or the runs are not of the same queries.

    Raises:
        ValueError: a file is damaged.
    """
    missing = [folder for folder in folders if not (folder / PER_QUERY_FILE).is_file()]
    if len(folders) != len(runs):
        reason = f"runs of one {FILE_NAME} have no {PER_QUERY_FILE}; give the folder of each"
    elif missing:
        reason = f"{missing[0]} has no {PER_QUERY_FILE}; evaluate again"
    else:
        return compare_queries(runs, [PerQuery.load(folder / PER_QUERY_FILE) for folder in folders])
    say(f"warning: significance is not tested: {reason}")
    return None


def compare_queries(runs: Sequence[Results], scores: Sequence[PerQuery]) -> Comparison | None:
    """Compare runs, each with its scores by query; returns as `compare_folders`."""
    by_label: dict[str, list[PerQuery]] = {}
    for label, per_query in zip(family_labels(runs), scores, strict=True):
        by_label.setdefault(label, []).append(per_query)
    try:
        comparison = compare_runs(by_label)
        if not comparison.scores:
            raise ValueError(
                "the runs have no mAP, being evaluated through a store; compare_runs(..., "
                'metrics=["ndcg@10"]) compares them by another metric'
            )
    except ValueError as error:
        say(f"warning: significance is not tested: {error}")
        return None
    return comparison
