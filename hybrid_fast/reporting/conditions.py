"""What was measured, and how, on the page of a report: facts, counts, settings and warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hybrid_fast.reporting.pages import DASH, Cell
from hybrid_fast.results import Counts, Results
from hybrid_fast.results.labels import run_labels, short_models
from hybrid_fast.results.runs import report_languages


def head_facts(runs: Sequence[Results]) -> list[tuple[str, str]]:
    """Return what the head of the page says: name and value of each fact."""
    counts = runs[0].counts
    models = list(short_models(run.info.model for run in runs).values())
    seeds = [str(run.info.seed) for run in runs if run.info.seed is not None]
    dates = [str(run.other["date"]) for run in runs if run.other.get("date")]
    facts = [
        ("Task", runs[0].task),
        _fact("Model", "Models", models),
        *([_fact("Seed", "Seeds", seeds)] if seeds else []),
        ("Languages", str(len(report_languages(runs)))),
        ("Queries", f"{sum(value or 0 for value in counts.queries.values()):,}"),
        ("Candidates in the pool", DASH if counts.pool is None else f"{counts.pool:,}"),
    ]
    return [*facts, _fact("Date", "Date", dates)] if dates else facts


def _fact(one: str, many: str, values: Sequence[str]) -> tuple[str, str]:
    distinct = list(dict.fromkeys(values))
    return one if len(distinct) < 2 else many, ", ".join(distinct) or DASH


def count_groups(runs: Sequence[Results]) -> list[dict[str, Any]]:
    """Return queries, candidates and dropped queries by language, once for equal runs."""
    groups: list[tuple[Counts, list[str]]] = []
    for run, label in zip(runs, run_labels(runs), strict=True):
        for counts, labels in groups:
            if counts == run.counts:
                labels.append(label)
                break
        else:
            groups.append((run.counts, [label]))
    return [{"labels": labels, **_count_rows(counts)} for counts, labels in groups]


def _count_rows(counts: Counts) -> dict[str, Any]:
    rows = []
    for language in sorted({*counts.queries, *counts.candidates, *counts.dropped}):
        left_out = {pool: n for pool, n in counts.dropped.get(language, {}).items() if n}
        queries, candidates = counts.queries.get(language), counts.candidates.get(language)
        numbers = (queries, candidates, sum(left_out.values()))
        where = ", ".join(f"{n:,} in {pool}" for pool, n in sorted(left_out.items()))
        cells = [Cell(n, DASH if n is None else f"{n:,}") for n in numbers]
        rows.append((language, cells, where))
    return {"rows": rows, "pool": DASH if counts.pool is None else f"{counts.pool:,}"}


def condition_rows(runs: Sequence[Results]) -> list[tuple[str, list[str]]]:
    """Return model, kind, seed, settings and versions by name; one value where all runs agree."""
    settings = dict.fromkeys(name for run in runs for name in run.info.settings)
    versions = dict.fromkeys(name for run in runs for name in run.versions)
    rows: list[tuple[str, list[Any]]] = [
        ("model", [run.info.model for run in runs]),
        ("kind", [run.info.kind for run in runs]),
        ("seed", [run.info.seed for run in runs]),
        *((name.replace("_", " "), _setting(runs, name)) for name in settings),
        *((f"version of {name}", [run.versions.get(name) for run in runs]) for name in versions),
    ]
    return [(name, _once([_text(value) for value in values])) for name, values in rows]


def _setting(runs: Sequence[Results], name: str) -> list[Any]:
    return [run.info.settings.get(name) for run in runs]


def _once(values: list[str]) -> list[str]:
    return values[:1] if len(set(values)) == 1 else values


def _text(value: object) -> str:
    if value is None:
        return DASH
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def warnings(runs: Sequence[Results]) -> list[str]:
    """Return what a reader must know before comparing the runs."""
    found = []
    if len(count_groups(runs)) > 1:
        found.append("The runs were not measured on the same queries and candidates.")
    names = {name for run in runs for name in run.info.settings}
    differing = sorted(name for name in names if len(set(map(_text, _setting(runs, name)))) > 1)
    if differing:
        found.append(f"The runs differ in these settings: {', '.join(differing)}.")
    if len({tuple(report_languages([run])) for run in runs}) > 1:
        found.append("Not every run has every language; averages are over the languages it has.")
    return found
