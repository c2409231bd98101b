"""A report in headless Chromium, whose console must be silent.

A page with a forbidden script shows that a noise there is heard.
"""

import base64
import io
from urllib.parse import unquote

import matplotlib.image
import numpy as np
import pytest
from report_pages import HOSTILE, make_run, report_of, three_runs

from hybrid_fast.reporting import plots


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
    browser.open(report_of([run, run | {"seed": 1}], tmp_path, title=HOSTILE))
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


def test_four_paths_are_readable_at_1280_pixels(browser, tmp_path):
    kinds = "mono-seed1", "cross-seed1", "hybrid-alpha-0.5-seed1", "hybrid-alpha-0.3-seed1"
    folder = "/data/experiments/2026-09-retrieval/xlm-roberta-base"
    runs = [make_run(None, 0.9, 0.5, 0.4, 50.0, seed=None) for _ in kinds]
    for run, kind in zip(runs, kinds, strict=True):
        run |= {"model": f"{folder}/{kind}/model"}
        run["language_bias"]["mrc"] = {"figure": 0.5}
    browser.open(report_of(runs, tmp_path), 1280)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    names = "[...document.querySelectorAll('table.headline tbody th')]"
    labels = [f"{kind}/model" for kind in kinds]
    assert browser.evaluate(f"{names}.map(each => each.innerText.trim())") == labels
    height = "parseFloat(getComputedStyle(each).lineHeight)"
    lines = f"{names}.map(each => each.querySelector('bdi').offsetHeight / {height})"
    assert 1 <= max(browser.evaluate(lines)) < 2.5
    # The paths stand in the table of settings alone, and no table is wider than its card.
    with_paths = (
        "[...document.querySelectorAll('tr')].filter(row => row.innerText.includes('/data'))"
    )
    assert browser.evaluate(f"{with_paths}.map(row => row.cells[0].innerText)") == ["model"]
    too_wide = "each => each.scrollWidth > each.clientWidth"
    scrolled = f"[...document.querySelectorAll('.scroll')].filter({too_wide})"
    assert browser.evaluate(f"{scrolled}.map(each => each.innerText)") == []


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
    browser.open(report_of(runs, tmp_path))
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
