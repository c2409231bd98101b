"""Language bias on the page of a report: rank distances and the measures of whole rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hybrid_fast.reporting import plots
from hybrid_fast.reporting.pages import DASH, Cell, data_url, number_cell
from hybrid_fast.reporting.score_tables import beaten_runs
from hybrid_fast.results import Results
from hybrid_fast.results.comparison import Comparison
from hybrid_fast.results.labels import run_labels
from hybrid_fast.results.measures import RANK_DISTANCE, Measure, bias_measures
from hybrid_fast.results.names import language_name
from hybrid_fast.results.runs import report_languages


def rank_distance_plot(runs: Sequence[Results], colours: Sequence[str]) -> str:
    """Return bars of the rank distance by query language as the address of an image."""
    distances = {
        label: run.language_bias.rank_distance.by_language
        for label, run in zip(run_labels(runs), runs, strict=True)
    }
    names = {code: language_name(code) for code in report_languages(runs)}
    return data_url(plots.draw_rank_distance(distances, names, colours))


def rank_distance_rows(
    runs: Sequence[Results], comparison: Comparison | None
) -> list[tuple[str, list[tuple[Cell, str]]]]:
    """Return for each query language the rank distances, and the runs that each is better than."""
    rows = []
    for language in report_languages(runs):
        cells = [_language_cell(RANK_DISTANCE, run, language) for run in runs]
        beaten = beaten_runs(runs, comparison, [RANK_DISTANCE], language)
        losers = [", ".join(of_run) for of_run in beaten]
        rows.append((language, list(zip(cells, losers, strict=True))))
    return rows


def bias_rows(runs: Sequence[Results]) -> list[tuple[str, str, list[Cell]]]:
    """Return title, meaning and scores of each measure of language bias that some run has."""
    rows = [
        (measure.title, measure.meaning, [number_cell(measure, run) for run in runs])
        for measure in bias_measures(runs)
    ]
    return [row for row in rows if any(cell.value is not None for cell in row[2])]


def bias_by_language(runs: Sequence[Results]) -> list[list[dict[str, Any]]]:
    """Return for each run columns of the measures of bias that have scores by query language."""
    languages = report_languages(runs)
    by_run = []
    for run in runs:
        columns = []
        for measure in bias_measures([run]):
            cells = [_language_cell(measure, run, language) for language in languages]
            if any(cell.value is not None for cell in cells):
                columns.append({"title": measure.title, "cells": cells})
        by_run.append(columns)
    return by_run


def _language_cell(measure: Measure, run: Results, language: str) -> Cell:
    value = measure.read_language(run, language)
    return Cell(value, measure.show(value, DASH))
