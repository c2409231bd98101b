"""A page that compares evaluation runs, with their numbers beside it.

`report.html` stands alone, see `pages`. Equal runs give equal bytes; a date appears only if a run
has one under "date".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_fast.common.files import check_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.reporting import bias_tables, conditions, heat_maps, plots, score_tables
from hybrid_fast.reporting.pages import publish, render_page
from hybrid_fast.results.comparison import Comparison
from hybrid_fast.results.labels import family_names, run_labels
from hybrid_fast.results.measures import HEADLINE
from hybrid_fast.results.results import FILE_NAME, Results
from hybrid_fast.results.runs import check_runs, report_languages


def write_report(
    runs: Sequence[Results],
    folder: str | Path,
    title: str | None = None,
    comparison: Comparison | None = None,
) -> Path:
    """Write `report.html`, and `results.json` if there are several runs.

    The files appear once all of them are complete; an error before leaves the folder as it was.

    Args:
        runs: results of one task, shown in this order.
        folder: where to write; made if it is not there. Other files in it are left alone.
        title: heading of the page.
        comparison: what `significance.compare_runs` found of the `family_labels` of the runs; kept
            in `results.json` and marked on the page.

    Returns:
        The path of `report.html`. For several runs `results.json` = {"runs": [...]} is beside it.

    Raises:
        TypeError: `runs` is not a list of Results.
        ValueError: there are no runs, or they are of different tasks.
        NotADirectoryError: `folder` is a file.
    """
    folder = expanded(folder)
    check_runs(runs)
    check_folder(folder)
    files: dict[str, bytes] = {}
    if len(runs) > 1:
        files[FILE_NAME] = _content(runs, comparison)
    files["report.html"] = _render(runs, title, comparison)
    publish(files, folder)
    return folder / "report.html"


def _content(runs: Sequence[Results], comparison: Comparison | None) -> bytes:
    content: dict[str, Any] = {"runs": [run.to_dict() for run in runs]}
    if comparison is not None:
        content["comparison"] = comparison.to_dict()
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _render(runs: Sequence[Results], title: str | None, comparison: Comparison | None) -> bytes:
    colours = plots.run_colours(family_names(runs))
    return render_page(
        "report.html.j2",
        title=title or "Search across languages",
        task=runs[0].task,
        kicker="1 run" if len(runs) == 1 else f"{len(runs)} runs side by side",
        labels=run_labels(runs),
        facts=conditions.head_facts(runs),
        languages=report_languages(runs),
        headline=score_tables.score_columns(runs, HEADLINE),
        beaten=score_tables.beaten_runs(runs, comparison),
        differences=score_tables.difference_rows(comparison),
        comparison=comparison,
        seeds=score_tables.seed_means(runs),
        details=score_tables.all_scores(runs),
        grids=heat_maps.score_grids(runs),
        shares=heat_maps.language_shares(runs),
        heat=heat_maps.heat_classes(),
        rank_distance=bias_tables.rank_distance_plot(runs, colours),
        distances=bias_tables.rank_distance_rows(runs, comparison),
        bias=bias_tables.bias_rows(runs),
        by_language=bias_tables.bias_by_language(runs),
        counts=conditions.count_groups(runs),
        conditions=conditions.condition_rows(runs),
        notes=conditions.warnings(runs),
        run_colours=colours,
    )
