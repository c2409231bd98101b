"""Sweeps as curves and page: what is drawn is what the runs hold, and nothing on the page runs."""

import base64
import hashlib
import json
import re

import pytest

from hybrid_fast.reporting import plots
from hybrid_fast.reporting.sweeps import Point, write_sweep
from hybrid_fast.results import Results
from hybrid_fast.results.measures import HEADLINE, RANK_DISTANCE


def make_run(multi, seed=0, rank_distance=100.0):
    scores = {"map": multi, "recall@1": multi, "recall@10": multi}
    content = {
        "task": "t",
        "model": "m",
        "kind": "hybrid",
        "seed": seed,
        "versions": {},
        "settings": {},
        "metrics": {"mono": scores, "cross": {**scores, "map": None}, "multi": scores},
        "grid": {"map": {"de": {"de": multi}}},
        "language_bias": {"rank_distance": rank_distance, "by_language": {}},
        "counts": {"queries": {}, "candidates": {}, "pool": 1, "dropped": {}},
    }
    return Results.from_dict(content)


def drawn(axes):
    """Return label to places, means and half lengths of the bars of each curve."""
    curves = {}
    for container in axes.containers:
        line, _, (bars,) = container.lines
        lengths = [(high - low) / 2 for (_, low), (_, high) in bars.get_segments()]
        curves[container.get_label()] = (*map(list, line.get_data()), lengths)
    return curves


def test_points_stand_to_scale_with_their_deviation():
    points = {"a": [(0.2, 0.1), None, (0.4, 0.0)], "b": [(0.5, 0.2), (0.6, 0.1), (0.7, 0.3)]}
    figure = plots.draw_curves({"one": points, "two": points}, "alpha", [1, 0.25, 0])
    for axes in figure.axes:
        curves = drawn(axes)
        assert curves["a"][:2] == ([0, 1], [0.4, 0.2])
        assert curves["a"][2] == pytest.approx([0, 0.1])
        assert curves["b"][:2] == ([0, 0.25, 1], [0.7, 0.6, 0.5])
        assert curves["b"][2] == pytest.approx([0.3, 0.1, 0.2])
        assert axes.get_xlabel() == "alpha"
        assert axes.get_xscale() == "linear"
    assert len(figure.legends) == 1


@pytest.mark.parametrize(
    ("values", "scale", "places"),
    [
        ([1e-4, 1e-2], "log", [1e-4, 1e-2]),
        ([0, 100], "linear", [0, 100]),
        (["mono", "cross"], "linear", [0, 1]),
        ([False, True], "linear", [0, 1]),
    ],
)
def test_scale_follows_from_the_values(values, scale, places):
    figure = plots.draw_curves({"one": {"a": [(1.0, 0.0), (2.0, 0.0)]}}, "field", values)
    axes = figure.axes[0]
    assert (axes.get_xscale(), drawn(axes)["a"][0]) == (scale, places)
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(v) for v in values]
    assert not figure.legends


def test_scores_that_are_missing_are_left_out_and_said(tmp_path):
    points = [
        Point({"alpha": 0.0}, [make_run(0.25), make_run(0.75, seed=1)]),
        Point({"alpha": 1.0}, [make_run(0.5, rank_distance=None)]),
        Point({"alpha": 2.0}, [make_run(0.5)]),
    ]
    page = write_sweep(points, tmp_path, "title", {}).read_text(encoding="utf-8")
    content = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))["points"]
    assert content[0]["figures"]["multi_map"] == {
        "mean": 0.5,
        "deviation": pytest.approx(0.5 / 2**0.5),
        "by_seed": [0.25, 0.75],
    }
    assert content[0]["figures"]["cross_map"]["mean"] is None
    assert content[1]["figures"]["rank_distance"]["mean"] is None
    assert content[1]["figures"]["multi_map"]["deviation"] is None
    assert points[1].spread(RANK_DISTANCE) is None
    assert points[2].spread(RANK_DISTANCE) == (100, 0)
    assert "0.500 ± 0.354" in page
    assert page.count("\N{EN DASH}") >= 4
    assert all(measure.title in page for measure in HEADLINE)


def test_the_path_of_a_written_sweep_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    page = write_sweep([Point({}, [make_run(0.5)])], "~/sweep", "t", {})
    assert page == tmp_path / "sweep" / "sweep.html"
    assert page.is_file()


def test_the_policy_allows_the_style_sheet_and_the_script_of_the_page_alone(tmp_path):
    page = write_sweep([Point({}, [make_run(0.5)])], tmp_path, "t", {}).read_text(encoding="utf-8")
    digests = [
        base64.b64encode(
            hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1].encode()).digest()
        ).decode()
        for tag in ("script", "style")
    ]
    policy = "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:;"
    assert policy.format(*digests) in page
    assert page.count("<script") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"sweep.html", "sweep.json"}


def test_chromium_sorts_a_sweep_and_runs_none_of_its_text(browser, tmp_path):
    hostile = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    points = [
        Point({"alpha": alpha, hostile: hostile}, [make_run(multi), make_run(multi, seed=1)])
        for alpha, multi in ((0.5, 0.7), (10.0, None), (2.0, 0.9))
    ]
    browser.open(write_sweep(points, tmp_path, hostile, {hostile: hostile}))
    table = "document.querySelector('table')"
    alphas = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].innerText)"
    multi = f"{table}.tHead.rows[0].cells[5].querySelector('button')"
    assert browser.evaluate(f"{multi}.innerText") == "multi mAP"
    browser.click(multi)
    assert browser.evaluate(alphas) == ["2.0", "0.5", "10.0"]
    browser.click(multi)
    assert browser.evaluate(alphas) == ["0.5", "2.0", "10.0"]
    browser.click(f"{table}.tHead.rows[0].cells[0].querySelector('button')")
    assert browser.evaluate(alphas) == ["10.0", "2.0", "0.5"]
    images = "[...document.images].map(image => image.naturalWidth > 0 && image.alt.length > 40)"
    assert browser.evaluate(images) == [True]
    assert browser.evaluate("window.ran") is None
    assert browser.evaluate("document.documentElement.scrollWidth") <= 1280
    name, table_of_runs = browser.download("document.querySelector('a[download=\"sweep.csv\"]')")
    assert (name, table_of_runs.decode().count("\r\n")) == ("sweep.csv", 4)
    assert (
        browser.download("document.querySelector('a[download=\"curves.svg\"]')")[1][:5] == b"<?xml"
    )
    assert browser.console() == []
