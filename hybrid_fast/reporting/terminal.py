"""Evaluation runs as tables on the terminal, and what every report of runs agrees on.

A run is one `results.json` as a dict. This module checks runs, names them, says which measures
open a report and which direction is good; `report` builds its page on the same words.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from babel import Locale, UnknownLocaleError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_fast.evaluation.metrics import METRICS
from hybrid_fast.evaluation.trec_run import RunScores

Run = Mapping[str, Any]
Grid = Mapping[str, Mapping[str, float | None]]
Comparison = Mapping[str, Any]

SETTINGS = ("mono", "cross", "multi")
METRIC_TITLES = {
    "map": "mAP",
    "map@20": "mAP@20",
    "ndcg@10": "nDCG@10",
    "mrr@10": "MRR@10",
    "mrr@100": "MRR@100",
    "r@2kt": "R@2kt",
    "r@5kt": "R@5kt",
}
_COUNT_TITLES = {
    "judged": "queries with judgements",
    "evaluated": "of them evaluated",
    "missing": "of them missing in the run",
    "without_relevants": "of them without a relevant, left out",
    "unjudged": "queries without judgements, left out",
}


@dataclass(frozen=True)
class Measure:
    """A figure of a run: where it stands in `results.json`, its name, and which way is good."""

    path: tuple[str, ...]
    title: str
    higher_is_better: bool = True
    is_fraction: bool = True

    def read(self, run: Run) -> float | None:
        """Return the figure, None where the run has none."""
        try:
            return cast("float | None", _read(run, self.path))
        except KeyError:
            return None

    def show(self, value: float | None, missing: str = "-") -> str:
        """Return the figure as it is printed: a fraction with three decimals, or a rank."""
        if value is None:
            return missing
        if self.is_fraction:
            return f"{value:.3f}"
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"

    def show_spread(self, values: Sequence[float | None], missing: str = "-") -> str:
        """Return the mean of figures, with their sample standard deviation if there are several."""
        known = [value for value in values if value is not None]
        if len(known) < 2:
            return self.show(known[0] if known else None, missing)
        return f"{self.show(statistics.mean(known))} ± {self.show(statistics.stdev(known))}"

    def show_signed(self, value: float) -> str:
        """Return a difference of figures as it is printed, with its sign."""
        return f"{value:+.3f}" if self.is_fraction else f"{value:+,.1f}"


RANK_DISTANCE = Measure(
    ("language_bias", "rank_distance"), "rank distance", higher_is_better=False, is_fraction=False
)
HEADLINE = (
    *(Measure(("metrics", setting, "map"), f"{setting} mAP") for setting in SETTINGS),
    RANK_DISTANCE,
)
MEASURES = (
    *(
        Measure(("metrics", setting, metric), f"{setting} {METRIC_TITLES.get(metric, metric)}")
        for setting in SETTINGS
        for metric in ("map", "recall@1", "recall@10")
    ),
    RANK_DISTANCE,
)
_REQUIRED: tuple[tuple[str, ...], ...] = (
    *((key,) for key in ("task", "model", "kind", "seed", "versions", "settings")),
    *(measure.path for measure in MEASURES),
    ("grid", "map"),
    ("language_bias", "by_language"),
    *(("counts", name) for name in ("queries", "candidates", "pool", "dropped")),
)
# What a run need not have: measures of bias from -1 to 1.
BIAS_FIGURES = (
    ("language_bias", "language_share_gap@20"),
    ("language_bias", "query_language_preference", "figure"),
    ("language_bias", "query_language_preference", "chance"),
    ("language_bias", "mrc", "figure"),
    ("language_bias", "mrc@20", "figure"),
)
# Where numbers stand, how many levels of keys are below it, and the largest value allowed.
_NUMBERS: tuple[tuple[tuple[str, ...], int, float], ...] = (
    (("metrics",), 2, 1.0),
    (("grid",), 3, 1.0),
    (("language_bias", "rank_distance"), 0, math.inf),
    (("language_bias", "by_language"), 1, math.inf),
    (("language_bias", "language_share@20"), 2, 1.0),
    (("language_bias", "pool_share"), 1, 1.0),
    (("counts", "queries"), 1, math.inf),
    (("counts", "candidates"), 1, math.inf),
    (("counts", "pool"), 0, math.inf),
    (("counts", "dropped"), 2, math.inf),
)


def print_results(
    runs: Sequence[Run], console: Console | None = None, comparison: Comparison | None = None
) -> None:
    """Print the headline of runs side by side, their differences and figures by query language.

    Args:
        runs: one dict in the shape of `results.json` for each run, all of one task.
        console: where to print; default the standard output.
        comparison: what `significance.compare_runs` found of their `family_labels`.

    Raises:
        TypeError: if `runs` is not a list of dicts.
        ValueError: if there are no runs, a run lacks a key or holds a figure out of range, or the
            runs are of different tasks.
    """
    check_runs(runs)
    console = console or Console()
    labels = run_labels(runs)
    console.print(_headline_table(runs, labels))
    if _has_own_metrics(runs):
        console.print(_metric_table(runs, labels))
    if comparison is not None and comparison["differences"]:
        console.print(_difference_table(comparison))
    whole = _language_table(runs, labels, HEADLINE)
    unlimited = console.options.update(max_width=10_000)
    if console.measure(whole, options=unlimited).maximum <= console.width:
        console.print(whole)
    else:
        for measure in HEADLINE:
            console.print(_language_table(runs, labels, [measure]))


def print_run(figures: RunScores, console: Console) -> None:
    """Print the figures of a TREC run, and what they were averaged over."""
    table = Table(title="Run", caption="mean over the evaluated queries; higher is better")
    table.add_column("measure")
    _add_number_columns(table, ["figure"])
    for name, value in figures.metrics.items():
        table.add_row(METRIC_TITLES.get(name, name), f"{value:.4f}")
    table.add_section()
    for name, count in figures.counts.items():
        table.add_row(_COUNT_TITLES[name], f"{count:,}")
    console.print(table)


def check_runs(runs: Sequence[Run]) -> None:
    """Raise a TypeError or ValueError that names run and key unless all runs can be compared."""
    if isinstance(runs, str | Mapping) or not isinstance(runs, Sequence):
        raise TypeError(f"runs is a {type(runs).__name__}; give a list of runs, [run] for one")
    if not runs:
        raise ValueError("runs is empty; give at least one run (the content of a results.json)")
    for number, run in enumerate(runs, 1):
        if not isinstance(run, Mapping):
            raise TypeError(
                f"run {number} is a {type(run).__name__}; "
                "give what results.json holds, Results.to_dict()"
            )
        _check_run(run, f"run {number} ({printable(run.get('kind') or run.get('model'))})")
    for number, run in enumerate(runs, 1):
        if run["task"] != runs[0]["task"]:
            raise ValueError(
                f"run 1 is of task {runs[0]['task']!r}, but run {number} of task {run['task']!r}; "
                "a report compares runs of one task, so write one report for each task"
            )
    if not report_languages(runs):
        raise ValueError('no run has a language in its "grid", so there is nothing to compare')


def _check_run(run: Run, name: str) -> None:
    for path in _REQUIRED:
        try:
            _read(run, path)
        except KeyError:
            raise ValueError(
                f"{name} has no {'.'.join(path)!r}; give the whole content of a results.json, "
                "null where there is no figure"
            ) from None
    for path, levels, largest in _NUMBERS:
        value = Measure(path, "").read(run)
        _check_numbers(value, f'{name}: "{".".join(path)}', levels, largest)
    for path in bias_figures([run]):
        value = Measure(path, "").read(run)
        _check_numbers(value, f'{name}: "{".".join(path)}', 0, 1.0, smallest=-1.0)
        *above, last = path
        if last == "figure":
            value = Measure((*above, "by_language"), "").read(run)
            place = f'{name}: "{".".join(above)}.by_language'
            _check_numbers(value, place, 1, 1.0, smallest=-1.0)
    for key in ("settings", "versions"):
        if not isinstance(run[key], Mapping | None):
            raise ValueError(f'{name}: "{key}" is {run[key]!r}; it must be an object or null')


def _check_numbers(
    value: object, path: str, levels: int, largest: float, smallest: float = 0.0
) -> None:
    if value is None:
        return
    if levels:
        if not isinstance(value, Mapping):
            raise ValueError(f'{path}" is {value!r}; it must be an object or null')
        for key, inner in value.items():
            _check_numbers(inner, f"{path}.{printable(key)}", levels - 1, largest, smallest)
    elif (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (smallest <= value <= largest and math.isfinite(value))
    ):
        limits = f"from {smallest:g} to {largest:g}"
        limits = "of at least 0" if largest == math.inf else limits
        raise ValueError(f'{path}" is {value!r}; it must be a finite number {limits}, or null')


def _read(run: Run, path: Sequence[str]) -> object:
    """Return what stands at a path of keys, None below a null; KeyError if a key is absent."""
    value: object = run
    for key in path:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise KeyError(key)
        value = value[key]
    return value


def run_labels(runs: Sequence[Run]) -> list[str]:
    """Name each run by its kind, and by seed and model too where kinds alone are ambiguous."""
    seeds = [None if run["seed"] is None else f"seed {run['seed']}" for run in runs]
    parts = {
        "kind": [run["kind"] or run["model"] or "run" for run in runs],
        "seed": seeds,
        "model": [run["model"] if run["kind"] else None for run in runs],
    }
    labels: list[str] = []
    for names in (("kind",), ("kind", "seed"), ("kind", "model"), ("kind", "model", "seed")):
        columns = zip(*(parts[name] for name in names), strict=True)
        labels = [", ".join(printable(part) for part in row if part is not None) for row in columns]
        if len(set(labels)) == len(runs):
            return labels
    return [f"{label} ({number})" for number, label in enumerate(labels, 1)]


def family_labels(runs: Sequence[Run]) -> list[str]:
    """Name each run by what it shares with the runs that differ from it by their seed alone."""
    seen: Counter[tuple[object, ...]] = Counter()
    families = []
    for run in runs:
        name = (run["kind"], run["model"])
        seen[*name, run["seed"]] += 1
        families.append((*name, seen[*name, run["seed"]]))
    first = {family: {**run, "seed": None} for family, run in zip(families, runs, strict=True)}
    labels = dict(zip(first, run_labels(list(first.values())), strict=True))
    return [labels[family] for family in families]


def bias_figures(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return the paths of the measures of bias from -1 to 1: the fixed ones, and PEER by level."""
    by_level = [(run["language_bias"] or {}).get("peer@20") or {} for run in runs]
    levels = dict.fromkeys(level for levels in by_level for level in levels)
    return [*BIAS_FIGURES, *(("language_bias", "peer@20", level, "figure") for level in levels)]


def headline_differences(
    comparison: Comparison, measure: Measure, language: str | None = None
) -> list[dict[str, Any]]:
    """Return the differences of all pairs of runs in a figure of the headline.

    `language` is that of the queries, None for the figures over all.
    """
    *_, setting, metric = measure.path
    if measure is RANK_DISTANCE:
        setting = "multi"
    return [
        row
        for row in comparison["differences"]
        if (row["setting"], row["metric"], row["language"]) == (setting, metric, language)
    ]


def winner(row: Mapping[str, Any], measure: Measure, level: float) -> str | None:
    """Return the label of the run that is significantly better in a difference; None if none."""
    if row["p_holm"] >= level:
        return None
    a_is_better: bool = (row["figure"] > 0) == measure.higher_is_better
    return row["a"] if a_is_better else row["b"]


def printable(value: object) -> str:
    """Return the value as text without control characters, line breaks and lone surrogates."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)
    )


def best_positions(values: Sequence[float | None], measure: Measure) -> set[int]:
    """Return where the best figure stands; ties as printed share it, and no best if all tie."""
    present = [value for value in values if value is not None]
    if not present:
        return set()
    best = measure.show(max(present) if measure.higher_is_better else min(present))
    if all(measure.show(value) == best for value in present):
        return set()
    return {row for row, value in enumerate(values) if measure.show(value) == best}


def report_languages(runs: Sequence[Run]) -> list[str]:
    """Return the codes of all languages that any run has a figure of, sorted."""
    grids = [grid or {} for run in runs for grid in (run["grid"] or {}).values()]
    rows = {language for grid in grids for language in grid}
    columns = {language for grid in grids for row in grid.values() for language in row or {}}
    measured = {language for run in runs for language in rank_distances(run)}
    return sorted((rows | columns | measured) - {"all"})


def language_name(code: str) -> str:
    """Return the English name of a BCP-47 code, the code itself where it has none."""
    name = Locale("en").languages.get(code.replace("-", "_"))
    if name:
        return name
    try:
        return Locale.parse(code, sep="-").get_display_name("en") or code
    except (UnknownLocaleError, ValueError):
        return code


def by_language(run: Run, language: str) -> dict[str, float | None]:
    """Return the headline of one query language by title; cross is the mean over its corpora."""
    row = read_grid(run, "map").get(language) or {}
    across = [value for corpus, value in row.items() if corpus not in (language, "all")]
    known = [value for value in across if value is not None]
    cross = sum(known) / len(known) if known else None
    figures = (row.get(language), cross, row.get("all"), rank_distances(run).get(language))
    return {measure.title: figure for measure, figure in zip(HEADLINE, figures, strict=True)}


def read_grid(run: Run, metric: str) -> Grid:
    """Return a run's grid of a metric, empty where it has none."""
    return (run["grid"] or {}).get(metric) or {}


def rank_distances(run: Run) -> Mapping[str, float | None]:
    """Return a run's rank distance by query language, empty where it has none."""
    return (run["language_bias"] or {}).get("by_language") or {}


def _headline_table(runs: Sequence[Run], labels: Sequence[str]) -> Table:
    caption = "* best; higher is better, but for the rank distance" if len(runs) > 1 else None
    table = Table(title=Text(f"Task {printable(runs[0]['task'])}"), caption=caption)
    table.add_column("measure", overflow="fold")
    _add_number_columns(table, labels)
    for row, measure in enumerate(MEASURES, 1):
        values = [measure.read(run) for run in runs]
        best = best_positions(values, measure)
        cells = [
            _cell(measure.show(value), position in best) for position, value in enumerate(values)
        ]
        table.add_row(measure.title, *cells, end_section=row % 3 == 0)
    return table


def metric_measures(runs: Sequence[Run]) -> dict[str, list[Measure]]:
    """Return the measures that any run has, by setting."""
    settings = dict.fromkeys([*SETTINGS, *(each for run in runs for each in run["metrics"] or {})])
    return {
        setting: [
            Measure(("metrics", setting, metric), METRIC_TITLES.get(metric, metric))
            for metric in dict.fromkeys(
                metric for run in runs for metric in (run["metrics"] or {}).get(setting) or {}
            )
        ]
        for setting in settings
    }


def _has_own_metrics(runs: Sequence[Run]) -> bool:
    return any(
        measure.path[-1] not in METRICS
        for measures in metric_measures(runs).values()
        for measure in measures
    )


def _metric_table(runs: Sequence[Run], labels: Sequence[str]) -> Table:
    """Return all figures of a task that has metrics of its own."""
    table = Table(title="All metrics", caption="higher is better")
    for head in ("setting", "measure"):
        table.add_column(head, overflow="fold")
    _add_number_columns(table, labels)
    for setting, measures in metric_measures(runs).items():
        for measure in measures:
            table.add_row(
                Text(printable(setting)),
                Text(printable(measure.title)),
                *(measure.show(measure.read(run)) for run in runs),
            )
        table.add_section()
    return table


def _difference_table(comparison: Comparison) -> Table:
    settings = comparison["settings"]
    table = Table(
        title="Differences, tested by paired randomisation over questions",
        caption=f"[low, high]: {settings['confidence']:.0%} bootstrap interval; p after Holm, "
        f"* better by p < {settings['level']:g}",
    )
    table.add_column("measure", overflow="fold")
    for head in ("run", "minus run"):
        table.add_column(head, overflow="fold")
    _add_number_columns(table, ["difference", "low, high", "p"])
    for measure in HEADLINE:
        for row in headline_differences(comparison, measure):
            best = winner(row, measure, settings["level"])
            names = [_cell(row[side], row[side] == best) for side in ("a", "b")]
            numbers = (measure.show_signed(row["figure"]), _interval(row, measure))
            table.add_row(measure.title, *names, *map(Text, numbers), f"{row['p_holm']:.4f}")
        table.add_section()
    return table


def _interval(row: Mapping[str, Any], measure: Measure) -> str:
    return f"{measure.show_signed(row['low'])}, {measure.show_signed(row['high'])}"


def _cell(text: str, best: bool) -> Text:
    return Text(f"{text}*", style="bold green") if best else Text(f"{text} ")


def _language_table(
    runs: Sequence[Run], labels: Sequence[str], measures: Sequence[Measure]
) -> Table:
    table = Table(title="By query language: " + ", ".join(each.title for each in measures))
    table.add_column("language", overflow="fold")
    for measure in measures:
        above = measure.title.replace(" ", "\n") if len(measures) > 1 else ""
        below = labels if len(runs) > 1 or not above else [""]
        _add_number_columns(table, [f"{above}\n{label}".strip() for label in below])
    for language in report_languages(runs):
        figures = [by_language(run, language) for run in runs]
        cells = [measure.show(figure[measure.title]) for measure in measures for figure in figures]
        name = printable(f"{language_name(language)} ({language})")
        table.add_row(Text(name), *map(Text, cells))
    return table


def _add_number_columns(table: Table, heads: Iterable[str]) -> None:
    for head in heads:
        table.add_column(Text(head), justify="right", overflow="fold", vertical="bottom")
