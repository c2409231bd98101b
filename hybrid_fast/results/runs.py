"""Several runs of one task, as reports compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_fast.results.names import printable
from hybrid_fast.results.results import Results


def load_runs(contents: Sequence[Mapping[str, Any]]) -> list[Results]:
    """Return the runs that contents of `results.json` files hold.

    Raises:
        TypeError: if `contents` is not a list of objects.
        ValueError: if there are none, or the content of one is wrong; errors name run and key.
    """
    _check_list(contents)
    runs = []
    for number, content in enumerate(contents, 1):
        if not isinstance(content, Mapping):
            raise TypeError(
                f"run {number} is a {type(content).__name__}; give what results.json holds, an "
                "object"
            )
        name = content.get("kind") or content.get("model") or "unnamed"
        runs.append(Results.from_dict(content, f"run {number} ({printable(name)})"))
    return runs


def check_runs(runs: Sequence[Results]) -> None:
    """Raise a TypeError or ValueError unless a report can compare the runs."""
    _check_list(runs)
    for number, run in enumerate(runs, 1):
        if not isinstance(run, Results):
            raise TypeError(
                f"run {number} is a {type(run).__name__}; give what results.json holds as "
                "Results, see Results.from_dict"
            )
        if run.task != runs[0].task:
            raise ValueError(
                f"run 1 is of task {runs[0].task!r}, but run {number} of task {run.task!r}; "
                "a report compares runs of one task, so write one report for each task"
            )
    if not report_languages(runs):
        raise ValueError('no run has a language in its "grid", so there is nothing to compare')


def report_languages(runs: Sequence[Results]) -> list[str]:
    """Return the codes of all languages that any run has a score of, sorted."""
    tables = [table for run in runs for table in run.grid.values()]
    rows = {language for table in tables for language in table}
    columns = {language for table in tables for row in table.values() for language in row}
    measured = {
        language for run in runs for language in run.language_bias.rank_distance.by_language
    }
    return sorted((rows | columns | measured) - {"all"})


def _check_list(runs: object) -> None:
    if isinstance(runs, str | Mapping) or not isinstance(runs, Sequence):
        raise TypeError(f"runs is a {type(runs).__name__}; give a list of runs, [run] for one")
    if not runs:
        raise ValueError("runs is empty; give at least one run (the content of a results.json)")
