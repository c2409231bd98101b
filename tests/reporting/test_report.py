"""Files of a report: complete or not there, of equal bytes; nothing in them runs or loads."""

import base64
import copy
import hashlib
import json
import re

import matplotlib
import pytest
from matplotlib._pylab_helpers import Gcf
from report_pages import (
    HOSTILE,
    Page,
    assert_loads_nothing,
    contrast,
    make_run,
    report_of,
    small_run,
)

from hybrid_fast.reporting.report import write_report


def test_files_are_complete_and_numbers_are_the_runs(report, runs):
    assert {path.name for path in report.parent.iterdir()} == {"report.html", "results.json"}
    assert json.loads((report.parent / "results.json").read_text()) == {"runs": runs}
    assert [path.name for path in report.parent.parent.iterdir()] == ["three"]


def test_page_names_languages_seed_and_settings(page):
    for name in ("Vietnamese", "Chinese", "static, 384 dimensions", "candidate text", "2.13.0"):
        assert name in page.text
    assert '{"query": "Q: "}' in page.text
    assert "7,040" in page.text
    assert "Before you compare" not in page.text


def test_page_loads_and_runs_nothing(page):
    assert_loads_nothing(page)
    policy = next(a["content"] for _, a in page.elements if "Policy" in a.get("http-equiv", ""))
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (page.style, page.script)
    )
    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{script_hash}'",
        f"style-src 'sha256-{style_hash}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_text_of_runs_is_escaped_everywhere(tmp_path):
    run = make_run(HOSTILE, 0.9, 0.1, 0.2, 50.0, languages=("de", HOSTILE, '"><img src=x>'))
    run |= {"task": f"task{HOSTILE}", "model": f"../../{HOSTILE}\x1b\ud800", "date": HOSTILE}
    run["settings"] = {HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}}
    run["versions"] = {HOSTILE: HOSTILE}
    run["metrics"]["mono"][HOSTILE] = 0.5
    run["grid"][HOSTILE] = run["grid"]["map"]
    path = report_of([run, run | {"seed": HOSTILE}], tmp_path / "report", title=HOSTILE)
    page = Page(path)
    assert_loads_nothing(page)
    assert page.text.count(HOSTILE) > 20
    assert f"../../{HOSTILE}\N{REPLACEMENT CHARACTER}\\ud800" in page.text
    assert [each.name for each in tmp_path.iterdir()] == ["report"]
    for each in path.parent.iterdir():
        assert each.name in ("results.json", "report.html")
    assert all(re.fullmatch(r"[a-z0-9_]+\.(csv|svg)", name) for name in page.downloads())
    assert [HOSTILE, HOSTILE, HOSTILE] in page.rows("settings.csv")


def test_any_name_can_be_drawn(tmp_path):
    names = ["$x_1$", "_hidden", "多言語", "a\nb", "x" * 300, r"\$"]
    runs = [small_run(name) for name in names]
    for run in runs:
        del run["grid"]["recall@1"]
    page = Page(report_of(runs, tmp_path / "report"))
    for name in names:
        assert name.replace("\n", "\N{REPLACEMENT CHARACTER}") in page.text
    assert {"map_x_1.csv", "map_hidden.csv", "map_a_b.csv"} <= set(page.downloads())


def test_one_run_is_compared_with_nothing(tmp_path, undrawn):
    path = report_of([small_run()], tmp_path)
    page = Page(path)
    assert "best" not in page.text
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_equal_runs_give_equal_bytes_and_leave_no_trace(tmp_path):
    settings_before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        report_of([small_run()], tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert dict(matplotlib.rcParams) == settings_before
    assert Gcf.get_all_fig_managers() == []


def test_a_date_stands_only_where_a_run_has_one(tmp_path, undrawn):
    run = small_run() | {"date": "2026-03-01"}
    assert "2026-03-01" in Page(report_of([run], tmp_path / "dated")).text
    assert "Date" not in Page(report_of([small_run()], tmp_path / "undated")).text


def test_the_path_of_a_written_page_exists(tmp_path, monkeypatch, undrawn):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert report_of([small_run()], "~/report") == tmp_path / "report" / "report.html"
    assert (tmp_path / "report" / "report.html").is_file()


def test_a_new_report_replaces_the_old_one_and_nothing_else(tmp_path, undrawn):
    (tmp_path / "mono").mkdir()
    (tmp_path / "mono" / "model.safetensors").write_text("weights")
    report_of([small_run()], tmp_path, title="old")
    path = report_of([small_run()], str(tmp_path), title="new")
    assert "new" in path.read_text()
    assert (tmp_path / "mono" / "model.safetensors").read_text() == "weights"


@pytest.mark.parametrize("exists", [True, False])
def test_failure_leaves_the_folder_as_it_was(tmp_path, monkeypatch, undrawn, exists):
    folder = tmp_path / "report"
    if exists:
        report_of([small_run()], folder, title="old")
    before = {path: path.read_bytes() for path in folder.rglob("*")}

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        report_of([small_run("hybrid")], folder, title="new")
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before
    assert [each.name for each in tmp_path.iterdir()] == (["report"] if exists else [])


def drop(run, path):
    *above, last = path
    for key in above:
        run = run[key]
    del run[last]


@pytest.mark.parametrize(
    "path",
    [
        ("task",),
        ("kind",),
        ("counts",),
        ("metrics", "cross"),
        ("metrics", "cross", "map"),
        ("grid", "map"),
        ("language_bias", "by_language"),
        ("counts", "dropped"),
    ],
)
def test_a_missing_key_is_named_with_its_run(tmp_path, path):
    runs = [small_run("mono"), small_run("hybrid")]
    drop(runs[1], path)
    name = r"run 2 \((hybrid|static, 384 dimensions)\)"
    with pytest.raises(ValueError, match=rf"{name} has no '{'.'.join(path)}"):
        report_of(runs, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("metrics", "mono", "map"), float("nan"), '"metrics.mono.map" is nan; .* from 0 to 1'),
        (("metrics", "mono", "map"), 96.4, '"metrics.mono.map" is 96.4; .* from 0 to 1'),
        (("metrics", "mono", "map"), "0.9", "\"metrics.mono.map\" is '0.9'; .* number"),
        (("counts", "queries"), 640, '"counts.queries" is 640; it must be an object'),
        (("grid", "map", "de"), [0.9], r'"grid.map.de" is \[0.9\]; it must be an object'),
        (("grid", "map", "de", "th"), True, '"grid.map.de.th" is True; .* from 0 to 1'),
        (("language_bias", "rank_distance"), -1, '"language_bias.rank_distance" is -1; .* least 0'),
        (("language_bias", "by_language", "de"), float("inf"), '"language_bias.by_language.de"'),
        (("counts", "pool"), "many", "\"counts.pool\" is 'many'"),
        (("settings",), "none", "\"settings\" is 'none'; it must be an object"),
    ],
)
def test_a_wrong_value_is_named_with_its_run_and_place(tmp_path, path, value, message):
    run = copy.deepcopy(small_run())
    *above, last = path
    inner = run
    for key in above:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(ValueError, match=rf"run 1 \(mono\): {message}"):
        report_of([run], tmp_path / "report")


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    with pytest.raises(ValueError, match="runs is empty; give at least one run"):
        write_report([], tmp_path)
    with pytest.raises(ValueError, match=r"'builtin', but run 2 of task 'mlqa-r'; .* each task"):
        report_of([small_run(), small_run() | {"task": "mlqa-r"}], tmp_path)
    with pytest.raises(TypeError, match=r"runs is a dict; give a list of runs, \[run\] for one"):
        write_report(small_run(), tmp_path)
    with pytest.raises(TypeError, match=r"run 1 is a str; give what results\.json holds"):
        write_report(["results.json"], tmp_path)
    empty = small_run() | {"grid": {"map": None}, "language_bias": None}
    with pytest.raises(ValueError, match="no run has a language"):
        report_of([empty], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; name a folder"):
        report_of([small_run()], tmp_path / "file")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_on_every_ground(page, scheme):
    rules = re.findall(r":root \{(.*?)\}", page.style, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): ([^;]+);", rules[0]))
    if scheme == "dark":
        colours |= dict(re.findall(r"--(\w+): ([^;]+);", rules[1]))
    grounds = [colours["page"], colours["card"], *re.findall("#[0-9a-f]{6}", colours["hero"])]
    pairs = [(ink, ground) for ink in ("ink", "quiet", "accent") for ground in grounds]
    pairs.append(("accent", colours["soft"]))
    assert min(contrast(colours[ink], ground) for ink, ground in pairs) >= 4.5
    for ink in re.findall(r"\.plot .*?\{.*?color: (#\w+)", page.style):
        assert contrast(ink, "#ffffff") >= 4.5


def test_plots_and_tables_are_named_for_those_who_do_not_see_them(page):
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 2
    assert all(len(image["alt"]) > 40 for image in images)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table")
    assert all(cell.get("scope") for cell in page.cells if cell["tag"] == "th")
