"""The tables on the terminal: right scores, right marks, nothing cut off, no markup from names."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from hybrid_fast.reporting.terminal import print_results
from hybrid_fast.results import Comparison, load_runs
from hybrid_fast.results.comparison import ComparisonSettings, Difference
from hybrid_fast.results.measures import HEADLINE


def make_run(kind="mono", mean=0.5, rank_distance=1234.4, seed=0, model="static"):
    metrics = {"map": mean, "recall@1": mean / 2, "recall@10": mean}
    return {
        "task": "xquad-r",
        "model": model,
        "kind": kind,
        "seed": seed,
        "versions": {},
        "settings": {},
        "metrics": {"mono": metrics, "cross": metrics, "multi": metrics},
        "grid": {
            "map": {
                "de": {"de": 0.9, "th": 0.2, "zh": 0.4, "all": 0.35},
                "th": {"de": 0.1, "th": 0.8, "zh": None, "all": 0.25},
                "zh": {"zh": 0.7, "all": None},
            }
        },
        "language_bias": {
            "rank_distance": rank_distance,
            "by_language": {"de": 11037.2, "th": 12.34, "zh": None},
        },
        "counts": {"queries": {}, "candidates": {}, "pool": 10, "dropped": {}},
    }


def printed(runs, width=100, comparison=None):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_results(load_runs(runs), console, comparison)
    return console.file.getvalue()


def rows_of(text):
    """Return the first cell of each row to its other cells."""
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if row}


def test_headline_is_side_by_side_with_the_best_marked():
    runs = [make_run("mono", 0.25, 2000.0), make_run("cross", 0.75, 99.0), make_run("hybrid", 0.75)]
    rows = rows_of(printed(runs))
    assert rows["measure"] == ["mono", "cross", "hybrid"]
    assert rows["cross mAP"] == ["0.250", "0.750*", "0.750*"]
    assert rows["multi recall@1"] == ["0.125", "0.375*", "0.375*"]
    assert rows["rank distance"] == ["2,000", "99.0*", "1,234"]
    assert "xquad-r" in printed(runs)


def test_metrics_of_the_task_itself_are_all_shown():
    run = make_run()
    assert "All metrics" not in printed([run])
    run["metrics"] = {**run["metrics"], "multi": {**run["metrics"]["multi"], "recall@100": 0.875}}
    run["metrics"]["official"] = {"r@2kt": 0.25}
    text = printed([run])
    assert re.search(r"multi +│ recall@100 +│ +0\.875", text)
    assert re.search(r"official +│ R@2kt +│ +0\.250", text)


def test_language_rows_hold_mono_mean_cross_multi_and_rank_distance():
    rows = rows_of(printed([make_run()]))
    assert rows["German (de)"] == ["0.900", "0.300", "0.350", "11,037"]
    assert rows["Thai (th)"] == ["0.800", "0.100", "0.250", "12.3"]
    assert rows["Chinese (zh)"] == ["0.700", "-", "-", "-"]
    (run,) = load_runs([make_run()])
    assert [measure.read_language(run, "fi") for measure in HEADLINE] == [None] * len(HEADLINE)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_no_score_is_cut_off(width):
    text = printed([make_run(kind) for kind in ("mono", "cross", "hybrid")], width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("11,037") == 3
    assert text.count("0.300") == 3
    assert text.count("By query language") == (1 if width == 160 else 4)


def test_missing_scores_are_dashes():
    run = make_run()
    run["metrics"] = None
    run["language_bias"] = None
    rows = rows_of(printed([run, make_run("hybrid", 0.5)]))
    assert rows["mono mAP"] == ["-", "0.500"]
    assert rows["rank distance"] == ["-", "1,234"]


def test_names_are_text_not_markup_nor_control_sequences():
    text = printed([make_run("[red]x[/red]\x1b[2J"), make_run("[/nope]")], width=160)
    assert "[red]x[/red]\N{REPLACEMENT CHARACTER}[2J" in text
    assert "[/nope]" in text
    assert "\x1b" not in text


def test_bad_runs_are_refused_by_name():
    run = make_run()
    del run["metrics"]["mono"]["recall@10"]
    with pytest.raises(ValueError, match=r"run 1 \(mono\) has no 'metrics.mono.recall@10'"):
        print_results(load_runs([run]))
    with pytest.raises(ValueError, match="runs is empty"):
        print_results([])


def difference(metric, setting, score, p, language=None, runs=("mono", "hybrid")):
    interval = score - 1 / 8, score + 1 / 8
    return Difference(metric, setting, language, score, *interval, *runs, p / 2, p)


def compared(*differences):
    return Comparison((), differences, ComparisonSettings(1000, 10000, 0, 0.95, 0.05))


def test_differences_are_shown_with_the_better_run_marked():
    comparison = compared(
        difference("map", "mono", 0.25, 0.01),
        difference("map", "cross", 0.25, 0.06),
        difference("rank_distance", "multi", 99.5, 0.0123),
        difference("map", "mono", 0.125, 0.01, language="de"),
    )
    text = printed([make_run("mono"), make_run("hybrid")], 120, comparison)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    assert [line for line in lines if line[1:3] in (["mono*", "hybrid"], ["mono", "hybrid*"])] == [
        ["mono mAP", "mono*", "hybrid", "+0.250", "+0.125, +0.375", "0.0100"],
        ["rank distance", "mono", "hybrid*", "+99.5", "+99.4, +99.6", "0.0123"],
    ]
    assert ["cross mAP", "mono", "hybrid", "+0.250", "+0.125, +0.375", "0.0600"] in lines
    assert "low, high: 95% bootstrap interval; p after Holm, * better by p < 0.05" in text


def test_four_paths_read_well_at_80_columns():
    kinds = "mono-seed1", "cross-seed1", "hybrid-alpha-0.5-seed1", "hybrid-alpha-0.3-seed1"
    folder = "/data/experiments/2026-09-retrieval/xlm-roberta-base"
    runs = [make_run(None, model=f"{folder}/{kind}/model") for kind in kinds]
    labels = tuple(f"{kind}/model" for kind in kinds)
    comparison = compared(difference("map", "mono", 0.25, 0.01, runs=labels[2:]))
    text = printed(runs, 80, comparison)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "/data" not in text
    start = next(i for i, line in enumerate(lines) if line.startswith("┏"))
    head = [
        [cell.strip() for cell in line.split("┃")[1:-1]] for line in lines[start + 1 : start + 4]
    ]
    assert ["".join(column) for column in zip(*head, strict=True)] == ["measure", *labels]
    assert rows_of(text)["mono recall@10"] == ["0.500"] * 4
    assert "│ hybrid-alpha-0.5- │ hybrid-alpha-0.3- │" in text
    assert "│ seed1/model*      │ seed1/model       │     +0.250 │ +0.125, +0.375 │" in text
    assert "over questions: mono mAP" in text
    assert "over questions: cross mAP" not in text


@pytest.mark.parametrize("num_runs", [9, 30])
def test_many_runs_are_shown_in_several_tables(num_runs):
    """No line is too long, names break at separators alone, and the best of all is marked."""
    models = [f"alpha=0.{number},learning_rate=1e-{number}" for number in range(num_runs)]
    runs = [make_run(model=name, mean=number / 100) for number, name in enumerate(models)]
    text = printed(runs, width=80)
    assert max(map(len, text.splitlines())) <= 80
    for number in range(num_runs):
        assert re.search(rf"[┃ ]rate=1e-{number} ", text), number
    rows = [line for line in text.splitlines() if line.startswith("│ mono mAP")]
    best = re.findall(r"0\.\d+\*", "\n".join(rows))
    assert best == [f"{(num_runs - 1) / 100:.3f}*"]
