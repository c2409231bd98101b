"""A sweep as table, page and curves: what runs of one recipe reach when its fields vary.

A point is the runs that differ by their seed alone; its scores are their mean, with the sample
standard deviation.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_fast.common.files import check_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.reporting import plots
from hybrid_fast.reporting.pages import (
    DASH,
    Cell,
    data_url,
    number_cell,
    publish,
    render_page,
)
from hybrid_fast.results import Results
from hybrid_fast.results.measures import HEADLINE, MEASURES, Measure
from hybrid_fast.results.names import printable
from hybrid_fast.results.runs import check_runs


class Point(NamedTuple):
    """The values of the swept fields, and the results of each seed that was run."""

    values: Mapping[str, Any]
    runs: Sequence[Results]

    @property
    def label(self) -> str:
        """The values as text."""
        return ", ".join(f"{name} {printable(_text(value))}" for name, value in self.values.items())

    def spread(self, measure: Measure) -> plots.Spread | None:
        """Return mean and sample standard deviation over the seeds, of one seed 0."""
        known = [value for value in map(measure.read, self.runs) if value is not None]
        if not known:
            return None
        return statistics.mean(known), statistics.stdev(known) if len(known) > 1 else 0.0


def write_sweep(
    points: Sequence[Point], folder: str | Path, title: str, failed: Mapping[str, str]
) -> Path:
    """Write `sweep.json` and `sweep.html`, which has curves if a field varies.

    Args:
        points: all with the same fields; at least one run in all.
        folder: where to write; other files in it are left alone.
        title: heading of the page.
        failed: name of each run that failed to the reason.

    Returns:
        The path of `sweep.html`, which stands alone.

    Raises:
        ValueError: there is no run, or the runs are of different tasks.
        NotADirectoryError: `folder` is a file.
    """
    folder = expanded(folder)
    runs = [run for point in points for run in point.runs]
    check_runs(runs)
    check_folder(folder)
    curves = _draw(points)
    page = render_page(
        "sweep.html.j2",
        title=title,
        task=runs[0].task,
        kicker=f"{len(runs)} runs of one recipe",
        facts=_facts(points, runs),
        run_colours=[],
        fields=list(points[0].values),
        curves=None if curves is None else data_url(curves),
        headline=[measure.title for measure in HEADLINE],
        rows=[(point, _cells(points, row)) for row, point in enumerate(points)],
        measures=[measure.title for measure in MEASURES],
        single_runs=[
            (point, run, [number_cell(measure, run) for measure in MEASURES])
            for point in points
            for run in point.runs
        ],
        failed=failed,
        show=_text,
    )
    publish({"sweep.json": _content(points, title, failed), "sweep.html": page}, folder)
    return folder / "sweep.html"


def print_sweep(points: Sequence[Point], console: Console) -> None:
    """Print mean and deviation of the headline for each point."""
    table = Table(
        title="Sweep",
        caption="mean ± sample standard deviation over seeds, * best; higher is better, except "
        "for the rank distance",
    )
    for field in points[0].values:
        table.add_column(Text(field), overflow="fold")
    for title in ("seeds", *(measure.title for measure in HEADLINE)):
        table.add_column(title, justify="right", overflow="fold")
    for row, point in enumerate(points):
        cells = [f"{cell.text}{'*' if cell.best else ' '}" for cell in _cells(points, row)]
        values = [printable(_text(value)) for value in point.values.values()]
        table.add_row(*map(Text, (*values, str(len(point.runs)), *cells)))
    console.print(table)


def _cells(points: Sequence[Point], row: int) -> list[Cell]:
    """Return the mean of each score of the headline of a point."""
    cells = []
    for measure in HEADLINE:
        spreads = [point.spread(measure) for point in points]
        means = [spread and spread[0] for spread in spreads]
        best = measure.best_positions(means)
        text = measure.show_spread([measure.read(run) for run in points[row].runs], DASH)
        cells.append(Cell(means[row], text, row in best))
    return cells


def _content(points: Sequence[Point], title: str, failed: Mapping[str, str]) -> bytes:
    content = {
        "title": title,
        "task": next(run.task for point in points for run in point.runs),
        "points": [
            {
                "values": dict(point.values),
                "seeds": [run.info.seed for run in point.runs],
                "figures": {m.name: _summary(point, m) for m in MEASURES},
            }
            for point in points
        ],
        "failed": dict(failed),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return (text + "\n").encode()


def _summary(point: Point, measure: Measure) -> dict[str, Any]:
    mean, deviation = point.spread(measure) or (None, None)
    by_seed = [measure.read(run) for run in point.runs]
    known = sum(value is not None for value in by_seed)
    return {"mean": mean, "deviation": deviation if known > 1 else None, "by_seed": by_seed}


def _draw(points: Sequence[Point]) -> Figure | None:
    """Draw the headline against the first field, a curve for each value of the others."""
    if not points[0].values:
        return None
    field, *others = points[0].values
    values = _distinct(point.values[field] for point in points)
    labels = _distinct(Point({name: p.values[name] for name in others}, ()).label for p in points)
    panels: dict[str, dict[str, list[plots.Spread | None]]] = {}
    for measure in HEADLINE:
        curves: dict[str, list[plots.Spread | None]] = {
            label: [None] * len(values) for label in labels
        }
        for point in points:
            rest = Point({name: point.values[name] for name in others}, ())
            curves[rest.label][values.index(point.values[field])] = point.spread(measure)
        direction = "" if measure.higher_is_better else " (lower is better)"
        panels[measure.title + direction] = curves
    texts_or_numbers = [value if type(value) in (int, float) else _text(value) for value in values]
    return plots.draw_curves(panels, field, texts_or_numbers)


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, in order; they need not be hashable."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _facts(points: Sequence[Point], runs: Sequence[Results]) -> list[tuple[str, str]]:
    facts = [("Task", runs[0].task)]
    for field in points[0].values:
        values = _distinct(point.values[field] for point in points)
        facts.append((field, ", ".join(map(_text, values))))
    seeds = _distinct(run.info.seed for run in runs)
    return [*facts, ("Seeds" if len(seeds) > 1 else "Seed", ", ".join(map(str, seeds)))]
