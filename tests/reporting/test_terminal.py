"""The tables on the terminal: right figures, right marks, nothing cut off, no markup from names."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from hybrid_fast.reporting.terminal import (
    HEADLINE,
    RANK_DISTANCE,
    best_positions,
    by_language,
    family_labels,
    language_name,
    print_results,
    run_labels,
)


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


def printed(runs, width=100):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_results(runs, console)
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
    assert list(by_language(make_run(), "fi").values()) == [None] * len(HEADLINE)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_no_figure_is_cut_off(width):
    text = printed([make_run(kind) for kind in ("mono", "cross", "hybrid")], width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("11,037") == 3
    assert text.count("0.300") == 3
    assert text.count("By query language") == (1 if width == 160 else 4)


def test_missing_figures_are_dashes():
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


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        ([("mono", 0, "a"), ("cross", 0, "a")], ["mono", "cross"]),
        ([("mono", 0, "a"), ("mono", 1, "a")], ["mono, seed 0", "mono, seed 1"]),
        ([("mono", 0, "a"), ("mono", 0, "b")], ["mono, a", "mono, b"]),
        ([(None, None, "a"), (None, None, "b")], ["a", "b"]),
        ([("mono", 0, "a"), ("mono", 0, "a")], ["mono, a, seed 0 (1)", "mono, a, seed 0 (2)"]),
        ([(None, None, None)], ["run"]),
    ],
)
def test_labels_are_as_short_as_they_can_be(runs, labels):
    assert run_labels([make_run(kind=k, seed=s, model=m) for k, s, m in runs]) == labels


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "a", "b"]), st.integers(0, 2), st.sampled_from(["a", "m"])
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None)
def test_labels_tell_any_runs_apart(runs):
    labels = run_labels([make_run(kind=k, seed=s, model=m) for k, s, m in runs])
    assert len(set(labels)) == len(runs)


def test_best_is_lowest_for_distances_and_none_if_all_tie():
    assert best_positions([0.1, None, 0.3], HEADLINE[0]) == {2}
    assert best_positions([0.10001, 0.10002, 0.05], HEADLINE[0]) == {0, 1}
    assert best_positions([300.0, 200.0], RANK_DISTANCE) == {1}
    assert best_positions([0.2, 0.2], HEADLINE[0]) == set()
    assert best_positions([None, None], HEADLINE[0]) == set()


@pytest.mark.parametrize(
    ("code", "name"),
    [("zh", "Chinese"), ("pt-BR", "Brazilian Portuguese"), ("sr-Latn", "Serbian (Latin)")]
    + [(code, code) for code in ("xyz", "<script>", "", "../../x", "a b")],
)
def test_language_names_are_english_and_unknown_codes_stay(code, name):
    assert language_name(code) == name


def test_bad_runs_are_refused_by_name():
    run = make_run()
    del run["metrics"]["mono"]["recall@10"]
    with pytest.raises(ValueError, match=r"run 1 \(mono\) has no 'metrics.mono.recall@10'"):
        print_results([run])
    with pytest.raises(ValueError, match="runs is empty"):
        print_results([])


def difference(metric, setting, figure, p, language=None):
    interval = {"low": figure - 1 / 8, "high": figure + 1 / 8, "p": p / 2, "p_holm": p}
    names = {"a": "mono", "b": "hybrid", "metric": metric, "setting": setting}
    return {**names, "language": language, "figure": figure, **interval}


def test_differences_are_shown_with_the_better_run_marked():
    comparison = {
        "differences": [
            difference("map", "mono", 0.25, 0.01),
            difference("map", "cross", 0.25, 0.06),
            difference("rank_distance", "multi", 99.5, 0.0123),
            difference("map", "mono", 0.125, 0.01, language="de"),
        ],
        "settings": {"confidence": 0.95, "level": 0.05},
    }
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    print_results([make_run("mono"), make_run("hybrid")], console, comparison)
    text = console.file.getvalue()
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines()]
    assert [line for line in lines if line[1:3] in (["mono*", "hybrid"], ["mono", "hybrid*"])] == [
        ["mono mAP", "mono*", "hybrid", "+0.250", "+0.125, +0.375", "0.0100"],
        ["rank distance", "mono", "hybrid*", "+99.5", "+99.4, +99.6", "0.0123"],
    ]
    assert ["cross mAP", "mono", "hybrid", "+0.250", "+0.125, +0.375", "0.0600"] in lines


def test_runs_that_differ_by_seed_are_one_family():
    runs = [make_run("mono", seed=0), make_run("hybrid", seed=0), make_run("mono", seed=1)]
    assert family_labels(runs) == ["mono", "hybrid", "mono"]
    assert family_labels([runs[0], runs[0]]) == ["mono, static (1)", "mono, static (2)"]
    other = make_run("mono", seed=0, model="labse")
    assert family_labels([runs[0], other]) == ["mono, static", "mono, labse"]
