"""docs/performance.md is what the JSON of runs says."""

from __future__ import annotations

import json

import performance_page
import pytest

EPYC = {
    "name": "AMD EPYC",
    "family": "26",
    "model": "2",
    "instruction_sets": ["avx2", "avx512f"],
    "cores": 2,
}


def headline(part, ours=2.0, **values):
    return {
        "part": part, "case": "float32", "unit": "s", "ours": ours, "baselines": {"naive": 3.0},
        "goals": {"naive": 1.2}, "bound": None, "reduced": "", "ratios": {"naive": 1.5},
    } | values  # fmt: skip


@pytest.fixture
def written(tmp_path):
    """A function that writes the JSON of a run and returns its parts."""

    def write(date, *headlines, processor=EPYC):
        path = tmp_path / f"{date}.json"
        run = {
            "machine_info": {"processor": processor, "versions": {"torch": "2.13.0"}},
            "commit_info": {"id": "0123456789abcdef"},
            "datetime": f"{date}T10:00:00",
            "benchmarks": [{"extra_info": {"headlines": list(headlines)}}, {"extra_info": {}}],
        }
        path.write_text(json.dumps(run), encoding="utf-8")
        return performance_page.parts_of(path)

    return write


def test_the_page_is_up_to_date():
    page = performance_page.page()
    assert page.count("\n### ") >= 10
    message = "run `python benchmarks/performance_page.py`"
    assert performance_page.PAGE.read_text(encoding="utf-8") == page, message


def test_of_each_processor_and_case_the_newest_figures_are_shown(written):
    once, twice = headline("loss", 5, case="once"), [headline("plan", 8)] * 2
    parts = written("2026-11-02", headline("loss", 7), once, *twice)
    parts += written("2026-11-03", headline("loss", 9))
    parts += written("2026-11-01", headline("loss", 4), processor=EPYC | {"model": "3"})
    shown = [
        (part.name, [found.ours for found in part.headlines])
        for part in performance_page.newest(parts)
    ]
    assert shown == [("loss", [9]), ("loss", [5]), ("plan", [8, 8]), ("loss", [4])]


def test_a_part_says_what_it_is_from(written):
    text = performance_page.tables(written("2026-11-02", headline("loss", reduced="few rounds")))
    assert "## AMD EPYC, family 26, model 2 (avx2, avx512f), 2 cores" in text
    assert "### Loss" in text
    assert "| float32 | s | 2 | naive | 3 | 1.5x | >= 1.2x met |" in text
    assert "2026-11-02, commit 0123456789; torch 2.13.0; [JSON](../benchmarks/results/" in text
    assert "few rounds" in text


def test_a_run_without_headlines_has_no_part(written):
    assert written("2026-11-02") == []
