"""Runs as tables on the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_fast.results import Results
from hybrid_fast.results.comparison import Comparison, Difference
from hybrid_fast.results.labels import run_labels
from hybrid_fast.results.measures import HEADLINE, MEASURES, Measure, metric_measures
from hybrid_fast.results.metrics import METRICS, metric_title
from hybrid_fast.results.names import language_name, printable
from hybrid_fast.results.run_scores import RunScores
from hybrid_fast.results.runs import check_runs, report_languages

LABEL_WIDTHS = (40, 32, 24, 20, 16, 14, 12, 10, 8)
_COUNT_TITLES = {
    "judged": "queries with judgements",
    "evaluated": "of them evaluated",
    "missing": "of them missing in the run",
    "without_relevants": "of them without a relevant, left out",
    "unjudged": "queries without judgements, left out",
}


def print_results(
    runs: Sequence[Results],
    console: Console | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Print the headline of runs side by side, their differences and scores by query language.

    Args:
        runs: results of one task.
        console: where to print; default the standard output.
        comparison: what `significance.compare_runs` found of their `family_labels`.

    Raises:
        TypeError: `runs` is not a list of Results.
        ValueError: there are no runs, or they are of different tasks.
    """
    check_runs(runs)
    console = console or Console()
    labels, every = run_labels(runs), range(len(runs))
    _print_in_parts(console, every, partial(_headline_table, runs, labels))
    if _has_more_metrics(runs):
        _print_in_parts(console, every, partial(_metric_table, runs, labels))
    tested = [each for each in HEADLINE if comparison is not None and comparison.of(each.name)]
    if comparison is not None and tested:
        _print_by_measure(console, tested, partial(_difference_table, comparison))
    if all(measure.read(run) is None for measure in HEADLINE for run in runs):
        return
    if not _print_if_it_fits(console, _language_table(runs, labels, HEADLINE, every, str)):
        for measure in HEADLINE:
            _print_in_parts(console, every, partial(_language_table, runs, labels, [measure]))


def print_run_scores(scores: RunScores, console: Console) -> None:
    """Print the scores of a TREC run, and what they were averaged over."""
    table = Table(title="Run", caption="mean over the evaluated queries; higher is better")
    table.add_column("measure")
    _add_number_columns(table, ["score"])
    for name, value in scores.metrics.items():
        table.add_row(metric_title(name), f"{value:.4f}")
    table.add_section()
    for name, count in scores.counts.items():
        table.add_row(_COUNT_TITLES[name], f"{count:,}")
    console.print(table)


# Breaks a label of a run into lines.
Write = Callable[[str], str]


def _print_by_measure(
    console: Console,
    measures: Sequence[Measure],
    draw: Callable[[Sequence[Measure], Write], Table],
) -> None:
    """Print one table of all measures, or one for each if that is too wide."""
    if not _print_if_it_fits(console, draw(measures, str)):
        for measure in measures:
            _print_fitting(console, partial(draw, [measure]))


def _print_in_parts(
    console: Console, positions: range, draw: Callable[[range, Write], Table]
) -> None:
    """Print one table of all runs, or as many as there must be for their columns to fit."""
    narrow = partial(_in_lines, width=LABEL_WIDTHS[-1])
    parts: list[range] = []
    for num_tables in range(1, len(positions) + 1):
        parts = _split(positions, num_tables)
        if all(_fits(draw(part, narrow), console) for part in parts):
            break
    for part in parts:
        _print_fitting(console, partial(draw, part))


def _split(positions: range, num_parts: int) -> list[range]:
    ends = [len(positions) * number // num_parts for number in range(num_parts + 1)]
    return [positions[start:end] for start, end in pairwise(ends)]


def _print_fitting(console: Console, draw: Callable[[Write], Table]) -> None:
    """Print a table with each label of a run in one line, in more if it is too wide."""
    table = draw(str)
    for width in LABEL_WIDTHS:
        if _fits(table, console):
            break
        table = draw(partial(_in_lines, width=width))
    console.print(table)


def _print_if_it_fits(console: Console, table: Table) -> bool:
    if not _fits(table, console):
        return False
    console.print(table)
    return True


def _in_lines(label: str, width: int) -> str:
    """Return a label in lines of a width where separators in it allow that."""
    lines = [""]
    for piece in re.findall(r"[^-_/,; ]*(?:[-_/,; ]+|$)", label):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _fits(table: Table, console: Console) -> bool:
    unlimited = console.options.update(max_width=10_000)
    return console.measure(table, options=unlimited).maximum <= console.width


def _headline_table(
    runs: Sequence[Results], labels: Sequence[str], shown: Sequence[int], write: Write
) -> Table:
    caption = "* best; higher is better, except for the rank distance" if len(runs) > 1 else None
    table = Table(title=Text(f"Task {printable(runs[0].task)}"), caption=caption)
    table.add_column("measure", overflow="fold")
    _add_number_columns(table, [write(labels[each]) for each in shown])
    for row, measure in enumerate(MEASURES, 1):
        values = [measure.read(run) for run in runs]
        best = measure.best_positions(values)
        cells = [_cell(measure.show(values[each]), each in best) for each in shown]
        table.add_row(measure.title, *cells, end_section=row % 3 == 0)
    return table


def _has_more_metrics(runs: Sequence[Results]) -> bool:
    """Tell whether there is more to show: metrics of the task's own, or a run without any mAP."""
    by_setting = [run.metrics.values() for run in runs]
    has_own = any(name not in METRICS for some in by_setting for scores in some for name in scores)
    return has_own or any(all(scores.get("map") is None for scores in some) for some in by_setting)


def _metric_table(
    runs: Sequence[Results], labels: Sequence[str], shown: Sequence[int], write: Write
) -> Table:
    """Return all scores, in every setting."""
    table = Table(title="All metrics", caption="higher is better")
    for head in ("setting", "measure"):
        table.add_column(head, overflow="fold")
    _add_number_columns(table, [write(labels[each]) for each in shown])
    for setting, measures in metric_measures(runs).items():
        for measure in measures:
            table.add_row(
                Text(printable(setting)),
                Text(printable(measure.title)),
                *(measure.show(measure.read(runs[each])) for each in shown),
            )
        table.add_section()
    return table


def _difference_table(comparison: Comparison, measures: Sequence[Measure], write: Write) -> Table:
    settings, several = comparison.settings, len(measures) > 1
    title = "Differences, tested by paired randomisation over questions"
    table = Table(
        title=title if several else f"{title}: {measures[0].title}",
        caption=f"low, high: {settings.confidence:.0%} bootstrap interval; p after Holm, "
        f"* better by p < {settings.level:g}",
    )
    for head in ("measure", "run", "minus run") if several else ("run", "minus run"):
        table.add_column(head, overflow="fold")
    _add_number_columns(table, ["difference", "low, high", "p"])
    for measure in measures:
        for difference in comparison.of(measure.name):
            better = difference.better(measure.higher_is_better, settings.level)
            runs = [_cell(write(run), run == better) for run in (difference.a, difference.b)]
            numbers = (
                measure.show_signed(difference.score),
                _interval(difference, measure),
                f"{difference.p_holm:.4f}",
            )
            title_cell = [Text(measure.title)] if several else []
            table.add_row(*title_cell, *runs, *map(Text, numbers))
        table.add_section()
    return table


def _interval(difference: Difference, measure: Measure) -> str:
    return f"{measure.show_signed(difference.low)}, {measure.show_signed(difference.high)}"


def _cell(text: str, best: bool) -> Text:
    return Text(f"{text}*", style="bold green") if best else Text(f"{text} ")


def _language_table(
    runs: Sequence[Results],
    labels: Sequence[str],
    measures: Sequence[Measure],
    shown: Sequence[int],
    write: Write,
) -> Table:
    table = Table(title="By query language: " + ", ".join(each.title for each in measures))
    table.add_column("language", overflow="fold")
    for measure in measures:
        above = measure.title.replace(" ", "\n") if len(measures) > 1 else ""
        names = [write(labels[each]) for each in shown]
        below = names if len(runs) > 1 or not above else [""]
        _add_number_columns(table, [f"{above}\n{label}".strip() for label in below])
    for language in report_languages(runs):
        cells = [
            measure.show(measure.read_language(runs[each], language))
            for measure in measures
            for each in shown
        ]
        name = printable(f"{language_name(language)} ({language})")
        table.add_row(Text(name), *map(Text, cells))
    return table


def _add_number_columns(table: Table, heads: Iterable[str]) -> None:
    for head in heads:
        table.add_column(Text(head), justify="right", overflow="fold", vertical="bottom")
