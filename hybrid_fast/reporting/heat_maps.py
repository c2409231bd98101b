"""Heat maps on the page of a report: scores of every pair of languages, languages found first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hybrid_fast.reporting import plots
from hybrid_fast.reporting.pages import DASH, data_url
from hybrid_fast.results import Results
from hybrid_fast.results.labels import run_labels
from hybrid_fast.results.metrics import metric_title
from hybrid_fast.results.runs import report_languages

HEAT_LEVELS = 50


def heat_classes() -> list[tuple[str, str]]:
    """Return background and text colour of each level of the colour scale."""
    colours = [plots.heat_colour(level / HEAT_LEVELS) for level in range(HEAT_LEVELS + 1)]
    return [(colour, plots.ink_on(colour)) for colour in colours]


def score_grids(runs: Sequence[Results]) -> list[dict[str, Any]]:
    """Return one view for each metric of the grids, mAP first: see `_score_grid`."""
    metrics = dict.fromkeys(["map", *(metric for run in runs for metric in run.grid)])
    return [_score_grid(runs, metric) for metric in metrics]


def _score_grid(runs: Sequence[Results], metric: str) -> dict[str, Any]:
    """Return a metric's title, end of its scale, plot and, for each run, rows of cells."""
    grids = [run.grid.get(metric, {}) for run in runs]
    peak = _scale_end(value for grid in grids for row in grid.values() for value in row.values())
    languages, title = report_languages(runs), metric_title(metric)
    by_label = dict(zip(run_labels(runs), grids, strict=True))
    return {
        "title": title,
        "peak": f"{peak:.2f}",
        "tables": [
            [
                (query, [_cell(grid, query, corpus, peak) for corpus in [*languages, "all"]])
                for query in languages
            ]
            for grid in grids
        ],
        "plot": data_url(plots.draw_grids(by_label, languages, title, peak)),
    }


def language_shares(runs: Sequence[Results]) -> dict[str, Any] | None:
    """Return the languages of the first 20 as a heat map for each run that has them."""
    rankings = [run.language_bias.rankings for run in runs]
    languages = report_languages(runs)
    all_rows = [row for each in rankings for row in each.language_share.values()]
    if all(value is None for row in all_rows for value in row.values()):
        return None
    all_rows += [each.pool_share for each in rankings]
    peak = _scale_end(value for row in all_rows for value in row.values())
    tables = []
    for each in rankings:
        shares = {**each.language_share, "all": each.pool_share}
        rows = [
            (row, [_cell(shares, row, column, peak) for column in languages])
            for row in [*languages, "all"]
        ]
        tables.append(rows if each.language_share else None)
    return {"peak": f"{peak:.2f}", "tables": tables}


def _scale_end(values: Iterable[float | None]) -> float:
    """Return the largest score, up to the next 20th."""
    largest = max((value for value in values if value is not None), default=0)
    return max(1, math.ceil(20 * largest - 1e-9)) / 20


def _cell(
    grid: Mapping[str, Mapping[str, float | None]], row: str, column: str, peak: float
) -> dict[str, Any]:
    value = grid.get(row, {}).get(column)
    own = row == column
    if value is None:
        return {"text": DASH, "level": None, "value": "", "exact": "no score", "own": own}
    level = round(HEAT_LEVELS * value / peak)
    text, exact = f"{value:.2f}", f"{value:.4f}"
    return {"text": text, "level": level, "value": value, "exact": exact, "own": own}
