"""Tables of scores on the page of a report: headline, differences, all scores, means over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from hybrid_fast.reporting.pages import DASH, Cell
from hybrid_fast.results import Results
from hybrid_fast.results.comparison import Comparison, Difference
from hybrid_fast.results.labels import family_labels, family_names
from hybrid_fast.results.measures import (
    HEADLINE,
    RANK_DISTANCE,
    RANK_DISTANCES,
    Measure,
    metric_measures,
)


def score_columns(runs: Sequence[Results], measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Return one column for each measure: its title, and cell and bar of each run."""
    columns = []
    for measure in measures:
        values = [measure.read(run) for run in runs]
        largest = max((value for value in values if value is not None), default=0) or 1
        best = measure.best_positions(values)
        columns.append(
            {
                "title": measure.title,
                "up": measure.higher_is_better,
                "cells": [
                    Cell(value, measure.show(value, DASH), row in best)
                    for row, value in enumerate(values)
                ],
                "bars": [round(100 * (value or 0) / largest, 1) for value in values],
            }
        )
    return columns


def beaten_runs(
    runs: Sequence[Results],
    comparison: Comparison | None,
    measures: Sequence[Measure] = HEADLINE,
    language: str | None = None,
) -> list[list[str]]:
    """Return for each run and measure the runs that it is significantly better than.

    `language` is that of the queries, None for the scores over all.
    """
    if comparison is None:
        return [["" for _ in measures] for _ in runs]
    return [
        [", ".join(_losers(label, comparison, measure, language)) for measure in measures]
        for label in family_labels(runs)
    ]


def _losers(
    label: str, comparison: Comparison, measure: Measure, language: str | None
) -> list[str]:
    level = comparison.settings.level
    return [
        each.b if label == each.a else each.a
        for each in comparison.of(measure.name, language)
        if each.better(measure.higher_is_better, level) == label
    ]


def difference_rows(comparison: Comparison | None) -> list[dict[str, Any]]:
    """Return the differences of the headline, first over all languages, then of each."""
    if comparison is None:
        return []
    rows = [
        _difference_row(difference, measure, comparison.settings.level)
        for measure in HEADLINE
        for difference in comparison.differences
        if difference.name == measure.name
    ]
    return sorted(rows, key=lambda row: row["language"] or "")


def _difference_row(difference: Difference, measure: Measure, level: float) -> dict[str, Any]:
    scores = (difference.score, difference.low, difference.high)
    return {
        "title": measure.title,
        "language": difference.language,
        "a": difference.a,
        "b": difference.b,
        "numbers": [
            *(Cell(score, measure.show_signed(score, DASH)) for score in scores),
            *(Cell(p, f"{p:.4f}") for p in (difference.p, difference.p_holm)),
        ],
        "best": difference.better(measure.higher_is_better, level),
    }


def all_scores(runs: Sequence[Results]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return all scores of all runs as groups of columns, one for each setting."""
    groups = [
        (setting, score_columns(runs, measures))
        for setting, measures in metric_measures(runs).items()
        if measures
    ]
    return [*groups, (RANK_DISTANCE.title, score_columns(runs, RANK_DISTANCES))]


def seed_means(runs: Sequence[Results]) -> list[dict[str, Any]]:
    """Return mean and sample standard deviation over the runs that differ by their seed alone."""
    families: dict[str, list[Results]] = {}
    for name, run in zip(family_names(runs), runs, strict=True):
        families.setdefault(name, []).append(run)
    if all(len(family) < 2 for family in families.values()):
        return []
    return [
        {
            "family": name,
            "num_runs": len(family),
            "cells": [_mean_cell(measure, family) for measure in HEADLINE],
        }
        for name, family in families.items()
    ]


def _mean_cell(measure: Measure, runs: Sequence[Results]) -> Cell:
    values = [measure.read(run) for run in runs]
    known = [value for value in values if value is not None]
    return Cell(statistics.mean(known) if known else None, measure.show_spread(values, DASH))
