"""A page that compares evaluation runs, with their numbers beside it.

`report.html` stands alone, see `pages`. Equal runs give equal bytes; a date appears only if a run
has one under "date".
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hybrid_fast.common.files import check_folder
from hybrid_fast.reporting import plots
from hybrid_fast.reporting.pages import (
    DASH,
    Cell,
    data_url,
    number_cell,
    publish,
    render_page,
)
from hybrid_fast.reporting.terminal import (
    HEADLINE,
    METRIC_TITLES,
    RANK_DISTANCE,
    Comparison,
    Measure,
    Run,
    best_positions,
    bias_figures,
    check_runs,
    family_labels,
    headline_differences,
    language_name,
    metric_measures,
    printable,
    rank_distances,
    read_grid,
    report_languages,
    run_labels,
    winner,
)

HEAT_LEVELS = 50
BIAS_MEASURES = (
    Measure(("language_bias", "rank_distance"), "mean", False, False),
    Measure(("language_bias", "rank_distance_median"), "median", False, False),
    Measure(("language_bias", "rank_distance_normalised"), "share of pool", False),
)

BIAS_MEANINGS = {
    "language_share_gap@20": (
        "language share gap@20",
        "languages of the first 20 against those of the pool; 0 if alike, lower is better",
    ),
    "query_language_preference": (
        "own language first",
        "how often the first right answer has the question's language; unbiased: see chance",
    ),
    "chance": ("its chance", "the share of right answers that have the question's language"),
    "mrc": (
        "MRC",
        "correlation of the rankings of a question's translations, -1 to 1, higher is better",
    ),
    "mrc@20": ("MRC@20", "the same over the first 20 of either, -1 to 1, higher is better"),
}
PEER_MEANING = (
    "whether texts of this relevance rank alike in all languages, 0 to 1, higher is better"
)


def write_report(
    runs: Sequence[Run],
    folder: str | Path,
    title: str | None = None,
    comparison: Comparison | None = None,
) -> Path:
    """Write `report.html`, and `results.json` if there are several runs.

    The files appear once all of them are complete; an error before leaves the folder as it was.

    Args:
        runs: one dict in the shape of `results.json` for each run, all of one task; shown in this
            order.
        folder: where to write; made if it is not there. Other files in it are left alone.
        title: heading of the page.
        comparison: what `significance.compare_runs` found of the `family_labels` of the runs; kept
            in `results.json` and marked on the page.

    Returns:
        The path of `report.html`. For several runs `results.json` = {"runs": [...]} is beside it.

    Raises:
        TypeError: if `runs` is not a list of dicts.
        ValueError: if there are no runs, a run lacks a key or holds a figure out of range, or the
            runs are of different tasks.
        NotADirectoryError: if `folder` is a file.
    """
    check_runs(runs)
    folder = Path(folder)
    check_folder(folder)
    files: dict[str, bytes] = {}
    if len(runs) > 1:
        content: dict[str, Any] = {"runs": list(runs)}
        if comparison is not None:
            content["comparison"] = comparison
        files["results.json"] = (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
    files["report.html"] = _render(runs, title, comparison)
    publish(files, folder)
    return folder / "report.html"


def _draw_grids(runs: Sequence[Run], metric: str) -> Figure:
    grids = {
        label: read_grid(run, metric) for label, run in zip(run_labels(runs), runs, strict=True)
    }
    title = METRIC_TITLES.get(metric, metric)
    return plots.draw_grids(grids, report_languages(runs), title, _peak(runs, metric))


def _draw_rank_distances(runs: Sequence[Run]) -> Figure:
    labels = run_labels(runs)
    distances = {label: rank_distances(run) for label, run in zip(labels, runs, strict=True)}
    names = {code: language_name(code) for code in report_languages(runs)}
    return plots.draw_rank_distance(distances, names, _colours(runs))


def _render(runs: Sequence[Run], title: str | None, comparison: Comparison | None) -> bytes:
    return render_page(
        "report.html.j2",
        title=title or "Search across languages",
        task=runs[0]["task"],
        kicker="1 run" if len(runs) == 1 else f"{len(runs)} runs side by side",
        labels=run_labels(runs),
        facts=_facts(runs),
        languages=report_languages(runs),
        headline=_columns(runs, HEADLINE),
        beaten=_beaten(runs, comparison),
        differences=_differences(comparison),
        comparison=comparison,
        bias=_bias(runs),
        details=_details(runs),
        seeds=_seed_means(runs),
        grids=[_grid_view(runs, metric) for metric in _grid_metrics(runs)],
        rank_distance=data_url(_draw_rank_distances(runs)),
        distances=_distances(runs, comparison),
        shares=_shares(runs),
        by_language=_bias_by_language(runs),
        counts=_counts(runs),
        conditions=_conditions(runs),
        notes=_notes(runs),
        heat=_heat_classes(),
        run_colours=_colours(runs),
    )


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return what the head of the page says: name and value of each fact."""
    facts = [("Task", runs[0]["task"])]
    for key, one, many in (("model", "Model", "Models"), ("seed", "Seed", "Seeds")):
        values = list(dict.fromkeys(str(run[key]) for run in runs if run[key] is not None))
        facts.append((one if len(values) < 2 else many, ", ".join(values) or DASH))
    queries = (runs[0]["counts"] or {}).get("queries") or {}
    pool = (runs[0]["counts"] or {}).get("pool")
    facts.append(("Languages", str(len(report_languages(runs)))))
    facts.append(("Queries", f"{sum(value or 0 for value in queries.values()):,}"))
    facts.append(("Candidates in the pool", DASH if pool is None else f"{pool:,}"))
    dates = list(dict.fromkeys(str(run["date"]) for run in runs if run.get("date")))
    return facts + ([("Date", ", ".join(dates))] if dates else [])


def _columns(runs: Sequence[Run], measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Return one column for each measure: its title, and cell and bar of each run."""
    columns = []
    for measure in measures:
        values = [measure.read(run) for run in runs]
        largest = max((value for value in values if value is not None), default=0) or 1
        best = best_positions(values, measure)
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


def _beaten(
    runs: Sequence[Run],
    comparison: Comparison | None,
    measures: Sequence[Measure] = HEADLINE,
    language: str | None = None,
) -> list[list[str]]:
    """Return for each run and figure which runs it is significantly better than.

    `language` is that of the queries, None for the figures over all.
    """
    if comparison is None:
        return [["" for _ in measures] for _ in runs]
    level = comparison["settings"]["level"]
    beaten = []
    for label in family_labels(runs):
        losers = [
            [
                row["b"] if label == row["a"] else row["a"]
                for row in headline_differences(comparison, measure, language)
                if winner(row, measure, level) == label
            ]
            for measure in measures
        ]
        beaten.append([", ".join(some) for some in losers])
    return beaten


def _differences(comparison: Comparison | None) -> list[dict[str, Any]]:
    """Return the differences of the headline, first over all languages, then of each."""
    if comparison is None:
        return []
    level = comparison["settings"]["level"]
    rows = []
    for measure in HEADLINE:
        *_, setting, metric = measure.path
        setting = "multi" if measure is RANK_DISTANCE else setting
        for row in comparison["differences"]:
            if (row["setting"], row["metric"]) == (setting, metric):
                best = winner(row, measure, level)
                numbers = [
                    Cell(row[key], measure.show_signed(row[key]))
                    for key in ("figure", "low", "high")
                ]
                numbers += [Cell(row[key], f"{row[key]:.4f}") for key in ("p", "p_holm")]
                rows.append({**row, "title": measure.title, "best": best, "numbers": numbers})
    return sorted(rows, key=lambda row: row["language"] or "")


def _bias(runs: Sequence[Run]) -> list[tuple[str, str, list[Cell]]]:
    """Return title, meaning and figures of each measure of language bias that some run has."""
    rows = []
    for path in bias_figures(runs):
        title, meaning = _bias_meaning(path)
        cells = [number_cell(Measure(path, title), run) for run in runs]
        if any(cell.value is not None for cell in cells):
            rows.append((title, meaning, cells))
    return rows


def _bias_meaning(path: Sequence[str]) -> tuple[str, str]:
    if path[1] == "peer@20":
        return f"PEER@20, {path[2]}", PEER_MEANING
    return BIAS_MEANINGS[path[-1] if path[-1] == "chance" else path[1]]


def _distances(
    runs: Sequence[Run], comparison: Comparison | None
) -> list[tuple[str, list[tuple[Cell, str]]]]:
    """Return for each query language the rank distances, and what runs each is better than."""
    rows = []
    for language in report_languages(runs):
        values = [rank_distances(run).get(language) for run in runs]
        cells = [Cell(value, RANK_DISTANCE.show(value, DASH)) for value in values]
        beaten = _beaten(runs, comparison, [RANK_DISTANCE], language)
        losers = [", ".join(of_run) for of_run in beaten]
        rows.append((language, list(zip(cells, losers, strict=True))))
    return rows


def _shares(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return the languages of the first 20 as a heat map for each run that has them."""
    grids = [(run["language_bias"] or {}).get("language_share@20") for run in runs]
    languages = report_languages(runs)
    pools = [(run["language_bias"] or {}).get("pool_share") or {} for run in runs]
    all_rows = [row or {} for grid in grids for row in (grid or {}).values()]
    known = [value for row in all_rows for value in row.values()]
    if not known:
        return None
    peak = _scale_end([*known, *(value for pool in pools for value in pool.values())])
    tables = []
    for grid, pool in zip(grids, pools, strict=True):
        named = {**(grid or {}), "all": pool}
        rows = [
            (row, [_cell(named, row, column, peak) for column in languages])
            for row in [*languages, "all"]
        ]
        tables.append(rows if grid else None)
    return {"peak": f"{peak:.2f}", "tables": tables}


def _bias_by_language(runs: Sequence[Run]) -> list[list[dict[str, Any]]]:
    """Return for each run columns of the measures of bias that have figures by query language."""
    languages = report_languages(runs)
    by_run = []
    for run in runs:
        columns = []
        for path in bias_figures([run]):
            *above, last = path
            measures = [Measure((*above, "by_language", code), code) for code in languages]
            cells = [number_cell(measure, run) for measure in measures]
            if last == "figure" and any(cell.value is not None for cell in cells):
                columns.append({"title": _bias_meaning(path)[0], "cells": cells})
        by_run.append(columns)
    return by_run


def _details(runs: Sequence[Run]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return all figures of all runs as groups of columns, one for each setting."""
    groups = [
        (setting, _columns(runs, measures)) for setting, measures in metric_measures(runs).items()
    ]
    groups = [(setting, columns) for setting, columns in groups if columns]
    return [*groups, (RANK_DISTANCE.title, _columns(runs, BIAS_MEASURES))]


def _seed_means(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return mean and sample standard deviation over the runs that differ by their seed alone."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_family(run), []).append(run)
    if all(len(group) < 2 for group in groups.values()):
        return []
    means = []
    for family, group in groups.items():
        cells = [_mean_cell(measure, group) for measure in HEADLINE]
        means.append({"family": family, "num_runs": len(group), "cells": cells})
    return means


def _mean_cell(measure: Measure, runs: Sequence[Run]) -> Cell:
    values = [measure.read(run) for run in runs]
    known = [value for value in values if value is not None]
    return Cell(statistics.mean(known) if known else None, measure.show_spread(values, DASH))


def _family(run: Run) -> str:
    """Return what runs that differ by their seed alone have in common."""
    return ", ".join(printable(run[key]) for key in ("kind", "model") if run[key] is not None)


def _colours(runs: Sequence[Run]) -> list[str]:
    return plots.run_colours([_family(run) for run in runs])


def _grid_metrics(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(["map", *(metric for run in runs for metric in run["grid"] or {})]))


def _peak(runs: Sequence[Run], metric: str) -> float:
    """Return the end of a metric's colour scale."""
    rows = [row or {} for run in runs for row in read_grid(run, metric).values()]
    return _scale_end(value for row in rows for value in row.values())


def _scale_end(values: Iterable[float | None]) -> float:
    """Return the largest figure, up to the next 20th."""
    largest = max((value for value in values if value is not None), default=0)
    return max(1, math.ceil(20 * largest - 1e-9)) / 20


def _grid_view(runs: Sequence[Run], metric: str) -> dict[str, Any]:
    """Return a metric's title, scale and, for each run, rows of cells (text, level of colour)."""
    peak = _peak(runs, metric)
    languages = report_languages(runs)
    tables = []
    for run in runs:
        grid = read_grid(run, metric)
        rows = [
            (language, [_cell(grid, language, column, peak) for column in [*languages, "all"]])
            for language in languages
        ]
        tables.append(rows)
    return {
        "title": METRIC_TITLES.get(metric, metric),
        "peak": f"{peak:.2f}",
        "tables": tables,
        "picture": data_url(_draw_grids(runs, metric)),
    }


def _cell(
    grid: Mapping[str, Mapping[str, float | None]], row: str, column: str, peak: float
) -> dict[str, Any]:
    value = (grid.get(row) or {}).get(column)
    if value is None:
        return {
            "text": DASH,
            "level": None,
            "value": "",
            "exact": "no figure",
            "own": row == column,
        }
    level = round(HEAT_LEVELS * value / peak)
    return {
        "text": f"{value:.2f}",
        "level": level,
        "value": value,
        "exact": f"{value:.4f}",
        "own": row == column,
    }


def _heat_classes() -> list[tuple[str, str]]:
    """Return background and text colour of each level of the colour scale."""
    colours = [plots.heat_colour(level / HEAT_LEVELS) for level in range(HEAT_LEVELS + 1)]
    return [(colour, plots.ink_on(colour)) for colour in colours]


def _counts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return queries, candidates and dropped queries by language, once for equal runs."""
    groups: list[tuple[Mapping[str, Any], list[str]]] = []
    for run, label in zip(runs, run_labels(runs), strict=True):
        counts = run["counts"] or {}
        for other, labels in groups:
            if other == counts:
                labels.append(label)
                break
        else:
            groups.append((counts, [label]))
    return [{"labels": labels, **_count_rows(counts)} for counts, labels in groups]


def _count_rows(counts: Mapping[str, Any]) -> dict[str, Any]:
    queries, candidates = counts.get("queries") or {}, counts.get("candidates") or {}
    dropped = counts.get("dropped") or {}
    rows = []
    for language in sorted({*queries, *candidates, *dropped}):
        left_out = {pool: n for pool, n in (dropped.get(language) or {}).items() if n}
        numbers = (queries.get(language), candidates.get(language), sum(left_out.values()))
        where = ", ".join(f"{n:,} in {pool}" for pool, n in sorted(left_out.items()))
        cells = [Cell(n, DASH if n is None else f"{n:,}") for n in numbers]
        rows.append((language, cells, where))
    pool = counts.get("pool")
    return {"rows": rows, "pool": DASH if pool is None else f"{pool:,}"}


def _conditions(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return model, kind, seed, settings and versions by name; one value where all runs agree."""
    keys: list[tuple[str | None, str]] = [(None, key) for key in ("model", "kind", "seed")]
    for section in ("settings", "versions"):
        names = dict.fromkeys(name for run in runs for name in run[section] or {})
        keys += [(section, name) for name in names]
    rows = []
    for part, key in keys:
        values = [_text((run if part is None else run[part] or {}).get(key)) for run in runs]
        name = f"version of {key}" if part == "versions" else key.replace("_", " ")
        rows.append((name, values[:1] if len(set(values)) == 1 else values))
    return rows


def _text(value: object) -> str:
    if value is None:
        return DASH
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _notes(runs: Sequence[Run]) -> list[str]:
    """Return what a reader must know before comparing the runs."""
    notes = []
    if len(_counts(runs)) > 1:
        notes.append("The runs were not measured on the same queries and candidates.")
    settings = {key for run in runs for key in run["settings"] or {}}
    differing = sorted(
        key
        for key in settings
        if len({_text((run["settings"] or {}).get(key)) for run in runs}) > 1
    )
    if differing:
        notes.append(f"The runs differ in these settings: {', '.join(differing)}.")
    if len({tuple(report_languages([run])) for run in runs}) > 1:
        notes.append("Not every run has every language; averages are over the languages it has.")
    return notes
