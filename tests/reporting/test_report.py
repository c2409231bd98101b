"""The report: what it says is what the runs hold, whole files or none, nothing runs or loads in it.

The page is read back by an HTML parser and opened in headless Chromium, whose console must be
silent; a page with a forbidden script shows that a noise there is heard.
"""

from __future__ import annotations

import base64
import copy
import csv
import hashlib
import io
import json
import random
import re
from html.parser import HTMLParser
from importlib import resources
from urllib.parse import unquote

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib._pylab_helpers import Gcf

from hybrid_fast.reporting import plots
from hybrid_fast.reporting.report import write_report

LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
KINDS = "mono", "cross"
RANK = "rank distance"
VOID_TAGS = {"meta", "link", "img", "rect", "br"}


def make_run(kind, mono, cross, multi, rank_distance, seed=0, languages=LANGUAGES):
    noise = random.Random(f"{kind} {seed}")

    def near(value):
        return round(min(1.0, value * noise.uniform(0.95, 1.03)), 4)

    def grid(factor):
        return {
            query: {
                **{
                    corpus: near(factor * (mono if query == corpus else cross))
                    for corpus in languages
                },
                "all": near(factor * multi),
            }
            for query in languages
        }

    def metrics(value):
        return {"map": value, "map@20": value, "recall@1": value * 0.9, "recall@10": value * 1.02}

    return {
        "task": "builtin",
        "model": "static, 384 dimensions",
        "kind": kind,
        "seed": seed,
        "versions": {"hybrid_fast": "0.1.0", "torch": "2.13.0"},
        "settings": {"candidate_text": "sentence", "max_length": None, "prompts": {"query": "Q: "}},
        "metrics": {"mono": metrics(mono), "cross": metrics(cross), "multi": metrics(multi)},
        "grid": {"map": grid(1.0), "recall@1": grid(0.9)},
        "language_bias": {
            "rank_distance": rank_distance,
            "rank_distance_median": 0.8 * rank_distance,
            "rank_distance_normalised": rank_distance / 6996,
            "by_language": {each: rank_distance * noise.uniform(0.7, 1.3) for each in languages},
        },
        "counts": {
            "queries": dict.fromkeys(languages, 640),
            "candidates": dict.fromkeys(languages, 636),
            "pool": 636 * len(languages),
            "dropped": {each: dict.fromkeys(languages, 0) for each in languages},
        },
    }


def three_runs(**options):
    return [
        make_run("mono", 0.964, 0.104, 0.231, 2210.4, **options),
        make_run("cross", 0.951, 0.702, 0.672, 181.3, **options),
        make_run("hybrid", 0.966, 0.691, 0.668, 192.8, **options),
    ]


def small_run(kind="mono", **options):
    return make_run(kind, 0.9, 0.1, 0.2, 50.0, languages=("de", "th"), **options)


SORT_SCRIPT = (
    resources.files("hybrid_fast.reporting").joinpath("templates/sort.js").read_text("utf-8")
).rstrip("\n")


class Page(HTMLParser):
    """Elements and texts of a page; fails on a tag that is closed out of turn."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.cells, self.text = [], [], [], ""
        self.style, self.script = "", ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self.cells.append({"tag": tag, "text": "", **dict(attributes)})
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.style += data
            return
        if "script" in self.open:
            self.script += data
            return
        self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.cells[-1]["text"] += data

    def downloads(self):
        """Return the address of each file by its name."""
        return {a["download"]: a["href"] for tag, a in self.elements if tag == "a"}

    def rows(self, name):
        """Return the rows of a CSV file."""
        kind, content = self.downloads()[name].split(",", 1)
        assert kind == "data:text/csv;charset=utf-8"
        return list(csv.reader(io.StringIO(unquote(content))))

    def heat_cells(self):
        return [cell for cell in self.cells if re.match(r"h\d+|none", cell.get("class") or "")]


@pytest.fixture
def undrawn(monkeypatch):
    """Leave out what takes long, where only the text of the page matters."""
    monkeypatch.setattr(plots, "to_svg", lambda figure: b"")


@pytest.fixture(scope="module")
def runs():
    return three_runs()


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    return write_report(runs, tmp_path_factory.mktemp("reports") / "three")


@pytest.fixture(scope="module")
def page(report):
    return Page(report)


def test_files_are_complete_and_numbers_are_the_runs(report, runs):
    assert {path.name for path in report.parent.iterdir()} == {"report.html", "results.json"}
    assert json.loads((report.parent / "results.json").read_text()) == {"runs": runs}
    assert [path.name for path in report.parent.parent.iterdir()] == ["three"]


def test_headline_marks_the_best_of_each_column_in_words(page):
    headline = [cell["text"].split() for cell in page.cells if cell["tag"] == "td"]
    mono = ["0.964"], ["0.104"], ["0.231"], ["2,210"]
    cross = ["0.951"], ["0.702best"], ["0.672best"], ["181best"]
    hybrid = ["0.966best"], ["0.691"], ["0.668"], ["193"]
    assert headline[:12] == [*mono, *cross, *hybrid]
    bars = [float(each["width"]) for tag, each in page.elements if tag == "rect"][:12]
    assert bars[1::4] == [14.8, 100.0, 98.4]  # cross mAP of .702
    assert bars[3::4] == [100.0, 8.2, 8.7]  # rank distance of 2210.4


def test_every_table_and_figure_can_be_had_as_a_file(page, runs):
    files = page.downloads()
    num_tables = sum(tag == "table" for tag, _ in page.elements)
    assert sum(name.endswith(".csv") for name in files) == num_tables
    figures_of_page = {name for name in files if name.endswith(".svg")}
    assert figures_of_page == {"map_grids.svg", "recall_at_1_grids.svg", "rank_distance.svg"}
    for name in figures_of_page:
        assert files[name].startswith("data:image/svg+xml;base64,")
        assert b"<svg" in base64.b64decode(files[name].partition(",")[2])
    shown = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert shown == [files["map_grids.svg"], files["rank_distance.svg"]]


def test_csv_files_hold_exact_figures_and_codes(page, runs):
    head, *rows = page.rows("map_cross.csv")
    assert head == ["mAP", *LANGUAGES, "all"]
    grid = runs[1]["grid"]["map"]
    assert [row[0] for row in rows] == list(LANGUAGES)
    assert [list(map(float, row[1:])) for row in rows] == [list(grid[x].values()) for x in grid]
    assert page.rows("headline.csv")[1] == ["mono", "0.964", "0.104", "0.231", "2210.4"]
    assert page.rows("headline.csv")[0][1:] == ["mono mAP", "cross mAP", "multi mAP", RANK]
    # One value where all runs agree stands for each of them.
    assert ["seed", "0", "0", "0"] in page.rows("settings.csv")


def test_grids_show_every_cell_with_readable_ink_on_one_scale(page, runs):
    cells = page.heat_cells()
    expected = [
        run["grid"][metric][query][corpus]
        for metric in ("map", "recall@1")
        for run in runs
        for query in LANGUAGES
        for corpus in (*LANGUAGES, "all")
    ]
    assert [cell["text"] for cell in cells] == [f"{value:.2f}" for value in expected]
    levels = np.array([int(cell["class"].split()[0][1:]) for cell in cells])
    num_map_cells = len(cells) // 2
    assert levels[:num_map_cells].tolist() == [round(50 * v) for v in expected[:num_map_cells]]
    assert sum("own" in cell["class"] for cell in cells) == 2 * len(runs) * len(LANGUAGES)
    rules = dict(
        (int(level), (ground, ink))
        for level, ground, ink in re.findall(
            r"\.h(\d+) \{ background: (#\w+); color: (#\w+);", page.style
        )
    )
    assert len(rules) == 51
    assert min(contrast(*rule) for rule in rules.values()) >= 4.5
    luminances = [luminance(rules[level][0]) for level in range(51)]
    assert luminances == sorted(luminances, reverse=True)


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@given(st.integers(0, 0xFFFFFF))
@settings(deadline=None)
def test_ink_has_the_contrast_that_text_needs_on_any_colour(number):
    colour = f"#{number:06x}"
    assert contrast(colour, plots.ink_on(colour)) >= 4.5


def test_page_names_languages_seed_and_settings(page):
    for name in ("Vietnamese", "Chinese", "static, 384 dimensions", "candidate text", "2.13.0"):
        assert name in page.text
    assert '{"query": "Q: "}' in page.text
    assert "7,040" in page.text
    assert "Before you compare" not in page.text


def assert_loads_nothing(page):
    tags = [tag for tag, _ in page.elements]
    assert not {"iframe", "object", "form"} & set(tags)
    assert tags.count("script") == 1
    assert page.script == SORT_SCRIPT
    for _tag, attributes in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "url(" not in page.style
    assert "@import" not in page.style


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
    path = write_report([run, run | {"seed": HOSTILE}], tmp_path / "report", title=HOSTILE)
    page = Page(path)
    assert_loads_nothing(page)
    assert page.text.count(HOSTILE) > 20
    assert f"../../{HOSTILE}\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}" in page.text
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
    page = Page(write_report(runs, tmp_path / "report"))
    for name in names:
        assert name.replace("\n", "\N{REPLACEMENT CHARACTER}") in page.text
    assert {"map_x_1.csv", "map_hidden.csv", "map_a_b.csv"} <= set(page.downloads())


def test_one_run_is_compared_with_nothing(tmp_path, undrawn):
    path = write_report([small_run()], tmp_path)
    page = Page(path)
    assert "best" not in page.text
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


def test_missing_figures_are_dashes_and_differences_are_told(tmp_path, undrawn):
    one, other = small_run(), make_run("hybrid", 0.9, 0.1, 0.2, 50.0, languages=("de", "fi"))
    one["grid"]["map"]["de"]["th"] = None
    one["metrics"]["cross"] = dict.fromkeys(one["metrics"]["cross"])
    one["metrics"]["multi"] = None
    one["language_bias"] |= {"rank_distance": None, "by_language": None}
    other["grid"].pop("recall@1")
    other["settings"]["candidate_text"] = "sentence+context"
    page = Page(write_report([one, other], tmp_path / "report"))
    cells = [cell["text"] for cell in page.heat_cells()][:12]  # one's mAP: de, fi, th by themselves
    values = one["grid"]["map"]
    of_german = [f"{values['de']['de']:.2f}", "–", "–", f"{values['de']['all']:.2f}"]
    assert cells[:8] == [*of_german, "–", "–", "–", "–"]
    assert cells[8::3] == [f"{values['th']['de']:.2f}", f"{values['th']['all']:.2f}"]
    headline = [cell["text"].split() for cell in page.cells if cell["tag"] == "td"]
    assert headline[:4] == [["0.900"], ["–"], ["–"], ["–"]]
    assert "Finnish" in page.text
    assert "differ in these settings: candidate_text." in page.text
    assert "not measured on the same queries" in page.text
    assert "Not every run has every language" in page.text


def test_dropped_queries_are_counted(tmp_path, undrawn):
    run = small_run()
    run["counts"]["dropped"]["th"] |= {"de": 3, "th": 4}
    page = Page(write_report([run], tmp_path / "report"))
    rows = [cell for cell in page.cells if "number" in (cell.get("class") or "")]
    left_out = [cell for cell in rows if "title" in cell]
    assert [(cell["text"], cell["title"]) for cell in left_out] == [("7", "3 in de, 4 in th")]


def test_seeds_are_summed_up_by_mean_and_deviation(tmp_path, undrawn):
    runs = [
        make_run(kind, mono, 0.1, 0.2, 50.0, seed=seed, languages=("de", "th"))
        for kind in KINDS
        for seed, mono in enumerate((0.7, 0.8, 0.9))
    ]
    page = Page(write_report(runs, tmp_path / "report"))
    assert "mono, seed 2" in page.text
    assert page.text.count("0.800 ± 0.100") == 2
    assert "0, 1, 2" in page.text
    rows = page.rows("seeds.csv")[1:]
    assert [row[:2] for row in rows] == [[f"{kind}, static, 384 dimensions", "3"] for kind in KINDS]
    assert [float(row[2]) for row in rows] == pytest.approx([0.8, 0.8])


def test_run_colours_are_one_hue_a_kind_and_never_the_same_twice():
    colours = plots.run_colours(["mono", "mono", "cross", "mono"])
    assert colours[0] == plots.RUN_COLOURS[0]
    assert colours[2] == plots.RUN_COLOURS[1]
    assert luminance(colours[0]) < luminance(colours[1]) < luminance(colours[3]) < 0.8


def test_equal_runs_give_equal_bytes_and_leave_no_trace(tmp_path):
    settings_before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        write_report([small_run()], tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert dict(matplotlib.rcParams) == settings_before
    assert Gcf.get_all_fig_managers() == []


def test_a_date_stands_only_where_a_run_has_one(tmp_path, undrawn):
    run = small_run() | {"date": "2026-03-01"}
    assert "2026-03-01" in Page(write_report([run], tmp_path / "dated")).text
    assert "Date" not in Page(write_report([small_run()], tmp_path / "undated")).text


def test_a_new_report_replaces_the_old_one_and_nothing_else(tmp_path, undrawn):
    (tmp_path / "mono").mkdir()
    (tmp_path / "mono" / "model.safetensors").write_text("weights")
    write_report([small_run()], tmp_path, title="old")
    path = write_report([small_run()], str(tmp_path), title="new")
    assert "new" in path.read_text()
    assert (tmp_path / "mono" / "model.safetensors").read_text() == "weights"


@pytest.mark.parametrize("exists", [True, False])
def test_failure_leaves_the_folder_as_it_was(tmp_path, monkeypatch, undrawn, exists):
    folder = tmp_path / "report"
    if exists:
        write_report([small_run()], folder, title="old")
    before = {path: path.read_bytes() for path in folder.rglob("*")}

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report([small_run("hybrid")], folder, title="new")
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
        write_report(runs, tmp_path / "report")
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
        write_report([run], tmp_path / "report")


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    with pytest.raises(ValueError, match="runs is empty; give at least one run"):
        write_report([], tmp_path)
    with pytest.raises(ValueError, match=r"'builtin', but run 2 of task 'mlqa-r'; .* each task"):
        write_report([small_run(), small_run() | {"task": "mlqa-r"}], tmp_path)
    with pytest.raises(TypeError, match=r"runs is a dict; give a list of runs, \[run\] for one"):
        write_report(small_run(), tmp_path)
    with pytest.raises(TypeError, match=r"run 1 is a str; give what results\.json holds"):
        write_report(["results.json"], tmp_path)
    empty = small_run() | {"grid": {"map": None}, "language_bias": None}
    with pytest.raises(ValueError, match="no run has a language"):
        write_report([empty], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; name a folder"):
        write_report([small_run()], tmp_path / "file")


def comparison_of(a, b, language=None):
    """One difference of each figure of the headline; only cross mAP is significant."""
    rows = [
        {
            "a": a,
            "b": b,
            "metric": metric,
            "setting": setting,
            "language": language,
            "figure": figure,
            "low": figure - 0.01,
            "high": figure + 0.01,
            "p": p,
            "p_holm": p,
        }
        for metric, setting, figure, p in (
            ("map", "mono", 0.013, 0.2),
            ("map", "cross", -0.598, 0.0004),
            ("map", "multi", -0.441, 0.05),
            ("rank_distance", "multi", 2029.1, 0.049),
        )
    ]
    settings_of = {"num_bootstrap": 1000, "num_exchanges": 10000, "confidence": 0.95, "level": 0.05}
    return {"figures": [], "differences": rows, "settings": settings_of}


def test_significant_differences_are_marked(tmp_path):
    runs = three_runs()[:2]
    comparison = comparison_of("mono", "cross")
    comparison["differences"] += comparison_of("mono", "cross", language="th")["differences"]
    page = Page(write_report(runs, tmp_path / "report", comparison=comparison))
    # Cross is better in cross mAP, and in the rank distance, where lower is better.
    assert page.source.count("significantly better than <bdi>mono</bdi>") == 2
    assert "significantly better than <bdi>cross</bdi>" not in page.source
    cells = [cell["text"] for cell in page.cells]
    row = ["cross mAP", "mono", "cross", "-0.598", "-0.608", "-0.588", "0.0004", "0.0004"]
    start = next(i for i in range(len(cells)) if cells[i : i + len(row)] == row)
    assert cells[start + len(row)] == "cross is better"
    assert "+2,029.1" in cells
    assert [cell for cell in cells if "Thai" in cell]
    lower = [cell for cell in cells if "significantly lower than mono" in cell]
    assert lower == [
        f"{runs[1]['language_bias']['by_language']['th']:,.0f}significantly lower than mono"
    ]
    differences = page.rows("differences_by_language.csv")
    assert differences[2][:5] == ["cross mAP", "th", "mono", "cross", "-0.598"]
    assert [row[-1] for row in differences[1:]] == ["", "cross is better", "", "cross is better"]
    written = json.loads((tmp_path / "report" / "results.json").read_text())
    assert written == {"runs": runs, "comparison": comparison}


def test_measures_of_bias_are_shown_where_a_run_has_them(tmp_path):
    run = small_run()
    assert "Other measures of language bias" not in Page(write_report([run], tmp_path / "a")).text
    run["language_bias"]["mrc"] = {"figure": -0.25}
    run["language_bias"]["peer@20"] = {"non-relevant": {"figure": 0.5}, "relevant": None}
    cells = [cell["text"] for cell in Page(write_report([run], tmp_path / "b")).cells]
    assert cells[cells.index("MRC") + 1] == "-0.250"
    assert cells[cells.index("PEER@20, non-relevant") + 1] == "0.500"
    assert "PEER@20, relevant" not in cells


def test_shares_and_measures_by_language_are_shown(tmp_path, undrawn):
    run = small_run()
    run["language_bias"] |= {
        "pool_share": {"de": 0.5, "th": 0.5},
        "language_share@20": {"de": {"de": 0.9, "th": 0.1}, "th": {"de": 0.25, "th": None}},
        "mrc": {"figure": 0.2, "by_language": {"de": -0.75, "th": None}},
        "peer@20": {"grade 2": {"figure": 0.125, "by_language": {"de": 0.125}}},
    }
    page = Page(write_report([run], tmp_path))
    shares = [["de", "0.9", "0.1"], ["th", "0.25", ""], ["pool", "0.5", "0.5"]]
    assert page.rows("shares_mono.csv") == [["share", "de", "th"], *shares]
    by_language = [["de", "-0.75", "0.125"], ["th", "", ""]]
    head = ["Query language", "MRC", "PEER@20, grade 2"]
    assert page.rows("language_bias_mono.csv") == [head, *by_language]
    run["language_bias"]["mrc"]["by_language"]["de"] = -7
    with pytest.raises(ValueError, match=r'"language_bias.mrc.by_language.de" is -7; .* -1 to 1'):
        write_report([run], tmp_path)


def test_figures_of_any_task_are_shown(tmp_path, undrawn):
    run = small_run()
    run["metrics"]["mono"] |= {"ndcg@10": 0.61, "r@2kt": 0.42}
    run["metrics"]["official"] = {"r@2kt": 0.4375, "r@5kt": None}
    run["grid"]["ndcg@10"] = run["grid"]["map"]
    page = Page(write_report([run], tmp_path))
    assert page.rows("official_all_figures.csv") == [
        ["Run", "R@2kt", "R@5kt"],
        ["mono", "0.4375", ""],
    ]
    mono = dict(zip(*page.rows("mono_all_figures.csv"), strict=True))
    assert (mono["nDCG@10"], mono["R@2kt"]) == ("0.61", "0.42")
    assert "The same for nDCG@10" in page.text
    run["metrics"]["official"]["r@2kt"] = 43.75
    with pytest.raises(ValueError, match=r'"metrics.official.r@2kt" is 43.75; .* from 0 to 1'):
        write_report([run], tmp_path)


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
    for ink in re.findall(r"\.picture .*?\{.*?color: (#\w+)", page.style):
        assert contrast(ink, "#ffffff") >= 4.5


def test_pictures_and_tables_are_named_for_those_who_do_not_see_them(page):
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 2
    assert all(len(image["alt"]) > 40 for image in images)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table")
    assert all(cell.get("scope") for cell in page.cells if cell["tag"] == "th")


@pytest.mark.parametrize("width", [1280, 600])
def test_chromium_shows_the_page_in_silence(browser, report, width):
    browser.open(report, width)
    pixels = matplotlib.image.imread(io.BytesIO(browser.screenshot()), "png")[..., :3]
    assert browser.console() == []
    assert pixels.shape == (3000, width, 3)
    for colour in (plots.RUN_COLOURS[0], plots.heat_colour(0.96)):
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(pixels - wanted).max(axis=2) < 0.03).sum() > 500
    assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_chromium_is_heard_when_a_page_breaks_its_policy(browser, report, tmp_path):
    broken = tmp_path / "broken.html"
    page = report.read_text(encoding="utf-8")
    broken.write_text(page.replace("</main>", f"{HOSTILE}</main>"), encoding="utf-8")
    browser.open(broken)
    assert browser.evaluate("window.ran") is None
    assert len(browser.console()) >= 2
    assert all("Content Security Policy" in said for said in browser.console())


def test_text_of_runs_is_not_run(browser, tmp_path, undrawn):
    run = make_run(HOSTILE, 0.9, 0.1, 0.2, 50.0, languages=("de", HOSTILE))
    run |= {"task": HOSTILE, "model": HOSTILE, "settings": {HOSTILE: HOSTILE}}
    browser.open(write_report([run, run | {"seed": 1}], tmp_path, title=HOSTILE))
    assert browser.evaluate("window.ran") is None
    assert browser.evaluate("document.scripts.length") == 1
    browser.click("document.querySelector('.headline thead button')")
    assert browser.evaluate("window.ran") is None
    assert HOSTILE in browser.evaluate("document.body.textContent")
    assert browser.console() == []


def test_eleven_languages_are_readable_at_1280_pixels(browser, report):
    browser.open(report, 1280)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    sizes = browser.evaluate(
        """[...document.querySelectorAll("table.grid")].map(table => ({
            room: table.parentElement.clientWidth,
            needed: table.parentElement.scrollWidth,
            rows: table.rows.length,
            letters: Math.min(...[...table.querySelectorAll("td:not(.gap)")].map(
                cell => parseFloat(getComputedStyle(cell).fontSize))),
            cut: [...table.querySelectorAll("th, td")].filter(
                cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.textContent),
        }))"""
    )
    assert [size["rows"] for size in sizes] == [12] * 6
    for size in sizes:
        assert size["needed"] <= size["room"]
        assert size["letters"] >= 13
        assert size["cut"] == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= 1280


def column(browser, table, number):
    """Return the texts of a column, and how it says it is sorted."""
    texts = browser.evaluate(
        f"[...{table}.tBodies[0].rows].map(row => row.cells[{number}].innerText.split('\\n')[0])"
    )
    texts = [text.removesuffix("best") for text in texts]
    return texts, browser.evaluate(f"{table}.tHead.rows[0].cells[{number}].ariaSort")


def test_tables_are_sorted_by_clicks_and_keys(browser, tmp_path):
    runs = three_runs(languages=("de", "th"))
    runs[1]["language_bias"]["rank_distance"] = None
    runs.append(make_run("Apart", 0.5, 0.1, 0.2, 45.0, languages=("de", "th")))
    browser.open(write_report(runs, tmp_path))
    table = "document.querySelector('table.headline')"
    button = f"{table}.tHead.rows[0].cells[{{}}].querySelector('button')"
    assert column(browser, table, 4) == (["2,210", "\N{EN DASH}", "193", "45.0"], None)
    browser.click(button.format(4))
    assert column(browser, table, 4) == (["2,210", "193", "45.0", "\N{EN DASH}"], "descending")
    browser.click(button.format(4))
    assert column(browser, table, 4) == (["45.0", "193", "2,210", "\N{EN DASH}"], "ascending")
    assert column(browser, table, 0)[0] == ["Apart", "hybrid", "mono", "cross"]

    browser.evaluate(f"{button.format(0)}.focus()")
    browser.press("Enter")
    names = ["Apart", "cross", "hybrid", "mono"]
    assert column(browser, table, 0) == (names, "ascending")
    assert column(browser, table, 4)[1] is None
    browser.press(" ")
    assert column(browser, table, 0) == (names[::-1], "descending")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.innerText").startswith("mono mAP")
    browser.press("Enter")
    assert column(browser, table, 1)[1] == "descending"
    assert column(browser, table, 0)[0] == ["hybrid", "mono", "cross", "Apart"]
    assert browser.console() == []


def test_files_can_be_downloaded_from_the_page(browser, report, page):
    browser.open(report)
    for name in ("map_cross.csv", "rank_distance.svg"):
        found = browser.download(f"document.querySelector('a[download=\"{name}\"]')")
        kind, content = page.downloads()[name].split(",", 1)
        expected = base64.b64decode(content) if "base64" in kind else unquote(content).encode()
        assert found == (name, expected)
    assert browser.console() == []
