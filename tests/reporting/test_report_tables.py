"""What tables and plots of a report say is what the runs hold."""

import base64
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_pages import (
    LANGUAGES,
    Page,
    contrast,
    luminance,
    make_run,
    report_of,
    small_run,
    three_runs,
)

from hybrid_fast.reporting import plots
from hybrid_fast.results import Comparison
from hybrid_fast.results.comparison import ComparisonSettings, Difference

KINDS = "mono", "cross"
RANK = "rank distance"


def test_headline_marks_the_best_of_each_column_in_words(page):
    headline = [cell["text"].split() for cell in page.cells if cell["tag"] == "td"]
    mono = ["0.964"], ["0.104"], ["0.231"], ["2,210"]
    cross = ["0.951"], ["0.702best"], ["0.672best"], ["181best"]
    hybrid = ["0.966best"], ["0.691"], ["0.668"], ["193"]
    assert headline[:12] == [*mono, *cross, *hybrid]
    bars = [float(each["width"]) for tag, each in page.elements if tag == "rect"][:12]
    assert bars[1::4] == [14.8, 100.0, 98.4]  # cross mAP of .702
    assert bars[3::4] == [100.0, 8.2, 8.7]  # rank distance of 2210.4


def test_every_table_and_plot_can_be_had_as_a_file(page, runs):
    files = page.downloads()
    num_tables = sum(tag == "table" for tag, _ in page.elements)
    assert sum(name.endswith(".csv") for name in files) == num_tables
    plots_of_page = {name for name in files if name.endswith(".svg")}
    assert plots_of_page == {"map_grids.svg", "recall_at_1_grids.svg", "rank_distance.svg"}
    for name in plots_of_page:
        assert files[name].startswith("data:image/svg+xml;base64,")
        assert b"<svg" in base64.b64decode(files[name].partition(",")[2])
    shown = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert shown == [files["map_grids.svg"], files["rank_distance.svg"]]


def test_csv_files_hold_exact_scores_and_codes(page, runs):
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


@given(st.integers(0, 0xFFFFFF))
@settings(deadline=None)
def test_ink_has_the_contrast_that_text_needs_on_any_colour(number):
    colour = f"#{number:06x}"
    assert contrast(colour, plots.ink_on(colour)) >= 4.5


def test_missing_scores_are_dashes_and_differences_are_told(tmp_path, undrawn):
    one, other = small_run(), make_run("hybrid", 0.9, 0.1, 0.2, 50.0, languages=("de", "fi"))
    one["grid"]["map"]["de"]["th"] = None
    one["metrics"]["cross"] = dict.fromkeys(one["metrics"]["cross"])
    one["metrics"]["multi"] = None
    one["language_bias"] |= {"rank_distance": None, "by_language": None}
    other["grid"].pop("recall@1")
    other["settings"]["candidate_text"] = "sentence+context"
    page = Page(report_of([one, other], tmp_path / "report"))
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
    page = Page(report_of([run], tmp_path / "report"))
    rows = [cell for cell in page.cells if "number" in (cell.get("class") or "")]
    left_out = [cell for cell in rows if "title" in cell]
    assert [(cell["text"], cell["title"]) for cell in left_out] == [("7", "3 in de, 4 in th")]


def test_seeds_are_summed_up_by_mean_and_deviation(tmp_path, undrawn):
    runs = [
        make_run(kind, mono, 0.1, 0.2, 50.0, seed=seed, languages=("de", "th"))
        for kind in KINDS
        for seed, mono in enumerate((0.7, 0.8, 0.9))
    ]
    page = Page(report_of(runs, tmp_path / "report"))
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


def comparison_of(a, b, *languages):
    """One difference of each score of the headline; only cross mAP is significant."""
    differences = [
        Difference(metric, setting, language, score, score - 0.01, score + 0.01, a, b, p, p)
        for language in languages
        for metric, setting, score, p in (
            ("map", "mono", 0.013, 0.2),
            ("map", "cross", -0.598, 0.0004),
            ("map", "multi", -0.441, 0.05),
            ("rank_distance", "multi", 2029.1, 0.049),
        )
    ]
    return Comparison((), tuple(differences), ComparisonSettings(1000, 10000, 0, 0.95, 0.05))


def test_significant_differences_are_marked(tmp_path):
    runs = three_runs()[:2]
    comparison = comparison_of("mono", "cross", None, "th")
    page = Page(report_of(runs, tmp_path / "report", comparison=comparison))
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
    assert written == {"runs": runs, "comparison": comparison.to_dict()}


def test_measures_of_bias_are_shown_where_a_run_has_them(tmp_path):
    run = small_run()
    assert "Other measures of language bias" not in Page(report_of([run], tmp_path / "a")).text
    run["language_bias"]["mrc"] = {"figure": -0.25}
    run["language_bias"]["peer@20"] = {"non-relevant": {"figure": 0.5}, "relevant": None}
    cells = [cell["text"] for cell in Page(report_of([run], tmp_path / "b")).cells]
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
    page = Page(report_of([run], tmp_path))
    shares = [["de", "0.9", "0.1"], ["th", "0.25", ""], ["pool", "0.5", "0.5"]]
    assert page.rows("shares_mono.csv") == [["share", "de", "th"], *shares]
    by_language = [["de", "-0.75", "0.125"], ["th", "", ""]]
    head = ["Query language", "MRC", "PEER@20, grade 2"]
    assert page.rows("language_bias_mono.csv") == [head, *by_language]
    run["language_bias"]["mrc"]["by_language"]["de"] = -7
    with pytest.raises(ValueError, match=r'"language_bias.mrc.by_language.de" is -7; .* -1 to 1'):
        report_of([run], tmp_path)


def test_scores_of_any_task_are_shown(tmp_path, undrawn):
    run = small_run()
    run["metrics"]["mono"] |= {"ndcg@10": 0.61, "r@2kt": 0.42}
    run["metrics"]["official"] = {"r@2kt": 0.4375, "r@5kt": None}
    run["grid"]["ndcg@10"] = run["grid"]["map"]
    page = Page(report_of([run], tmp_path))
    assert page.rows("official_all_scores.csv") == [
        ["Run", "R@2kt", "R@5kt"],
        ["mono", "0.4375", ""],
    ]
    mono = dict(zip(*page.rows("mono_all_scores.csv"), strict=True))
    assert (mono["nDCG@10"], mono["R@2kt"]) == ("0.61", "0.42")
    assert "The same for nDCG@10" in page.text
    run["metrics"]["official"]["r@2kt"] = 43.75
    with pytest.raises(ValueError, match=r'"metrics.official.r@2kt" is 43.75; .* from 0 to 1'):
        report_of([run], tmp_path)
