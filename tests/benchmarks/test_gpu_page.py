"""The part of docs/performance.md on GPUs, made of reports that nobody measured."""

from __future__ import annotations

import json
import math

import gpu_page
import performance_page
import pytest


@pytest.fixture
def made_up(tmp_path):
    """A function that writes a made-up report and returns its path."""

    def write(
        name="2026-01-02-gpu.json",
        *,
        card="Made-up card",
        tiny=False,
        date="2026-01-02",
        **sections,
    ):
        report = {
            "kind": "gpu_check", "tiny": tiny, "date": date, "commit": "0123456789abcdef",
            "device": {"name": card, "cuda": "13.0", "driver": "580.1"},
            "versions": {"torch": "2.11.0", "triton": "3.6.0"},
            "sections": sections,
            "verdicts": [
                verdict("loss", "share of the limit", 0.8, None),
                verdict("loss", "scratch MiB", 976, 512.0),
                verdict("training", "times", 6.0, math.nan),
            ],
            "default_backend": {
                "rule": "By speed.", "by_kind": {"mean": {"from size": 16384, "measured": 2}}
            },
        }  # fmt: skip
        path = tmp_path / name
        path.write_text(json.dumps(report))
        return path

    return write


def verdict(section, what, asked, reached):
    result = "not measured" if reached is None else "pass" if reached > 0 else "miss"
    return {
        "section": section, "case": "a case", "way": "triton", "what": what, "asked": asked,
        "reached": reached, "at_least": what != "scratch MiB", "result": result,
    }  # fmt: skip


def loss(ms):
    steps = {
        "triton": {"median_ms": ms, "scratch_mib": 1537.0},
        "triton_one_pass": {"failed": "x"},
        "naive": {"median_ms": 3.56, "scratch_mib": 1488.0},
        "compiled_bf16": {"skipped": "no time left"},
    }
    case = {"size": 16384, "three_products_ms": 1.58, "steps": steps, "shares": {"triton": 0.545}}
    row = {
        "kind": "mean", "temperature": 0.05, "longest": 1, "loss": 2.7e-4,
        "errors": {
            "triton": {"loss": 9e-8, "queries": 6e-5, "passages": 7e-5}, "naive": {"failed": "x"}
        },
    }  # fmt: skip
    late = {"size": 65536, "skipped": "no time left"}
    return {"accuracy": {"rows": [row]}, "16,384 x 768 mean": case, "65,536 x 768 mean": late}


TRAINING = {
    "rate": {"matmul_flop_per_s": 780e12},
    "default, 8,192 pairs": {
        "first_s": 4.9, "median_s": 2.26, "tokens_per_s": 279e3, "flop_per_s": 145e12,
        "peak_gib": 14.9, "compile_s": 0,
    },
    "compiled, 8,192 pairs": {"failed": "x"},
}  # fmt: skip
SMALL = {"64 x 768 mean": {"steps": {"naive": {"median_ms": 0.83}, "triton": {"median_ms": 1.88}}}}


def page(*paths):
    return gpu_page.page(gpu_page.reports(paths))


def test_without_a_report_it_says_so(made_up):
    for text in (page(), page(made_up(tiny=True, loss=loss(2.9)))):
        assert text.splitlines() == ["## GPUs", "", gpu_page.NOT_MEASURED]


def test_the_page_of_the_docs_ends_with_it(monkeypatch, tmp_path, made_up):
    monkeypatch.setattr(performance_page, "RESULTS", tmp_path)
    assert performance_page.page().endswith(f"\n## GPUs\n\n{gpu_page.NOT_MEASURED}\n")
    made_up(loss=loss(2.9))
    assert "### Made-up card\n" in performance_page.page()


def test_the_loss_beside_limit_and_peers(made_up):
    text = page(made_up(loss=loss(2.9)))
    assert "| 16,384 x 768 mean | 1.58 | 2.9 (0.545) | - | 3.56 | - | - | - | - |" in text
    assert "| 16,384 x 768 mean | 1,537 | - | 1,488 | - | - | - | - |" in text
    assert "65,536" not in text  # had no time
    assert "| mean | 0.05 | 0.00027 | 9e-08 / 6e-05 | - |" in text
    assert "By speed." in text
    assert "| mean | 16,384 | 2 |" in text
    assert (
        "2026-01-02, commit 0123456789; CUDA 13.0, driver 580.1; torch 2.11.0, triton 3.6.0;"
        in text
    )
    assert "[JSON](../benchmarks/results/2026-01-02-gpu.json)" in text


def test_goals_stand_with_their_section_those_not_measured_last(made_up):
    text = page(made_up(loss=loss(2.9), training=TRAINING))
    measured = "| a case | triton | scratch MiB | <= 976 | 512 | pass |"
    missing = "| a case | triton | share of the limit | >= 0.8 | - | not measured |"
    assert text.index(measured) < text.index(missing) < text.index("#### Training")
    assert text.index("#### Training") < text.index("| >= 6 | nan | miss |")


def test_small_batches_and_training(made_up):
    text = page(made_up(small=SMALL, training=TRAINING))
    assert "| case | triton | naive |" in text
    assert "| 64 x 768 mean | 1.88 | 0.83 |" in text
    assert "| default, 8,192 pairs | 4.9 | 2.26 | 279,000 | 145 (18.6 %) | 14.9 | - |" in text
    assert "| compiled" not in text
    assert "#### Loss" not in text


def test_of_each_card_and_section_the_newest_report_counts(made_up):
    older = made_up("2026-01-01-a.json", loss=loss(9.9), small=SMALL)
    newer = made_up("2026-01-02-b.json", loss=loss(2.9))
    other = made_up("2026-01-01-c.json", loss=loss(7.7), card="Another card")
    text = page(older, newer, other)
    assert text.count("#### Loss") == 2
    assert "2.9 (0.545)" in text
    assert "9.9 (0.545)" not in text
    places = [text.index(name) for name in ("### Made-up", "01-02-b.json", "01-01-a.json")]
    assert places == sorted(places)
    assert text.index("### Another card") < text.index("7.7 (0.545)")


def test_a_real_tiny_run_has_what_the_page_asks_for(made_up, found, settings):
    from gpu.goals import default_backend, verdicts

    path = made_up(
        loss=found("loss", "accuracy", "16 x 48 mean"), small=found("small", "16 x 48 mean")
    )
    report = json.loads(path.read_text())
    report["verdicts"] = [each.values() for each in verdicts(report["sections"], settings)]
    report["default_backend"] = default_backend(report["sections"])
    path.write_text(json.dumps(report))
    lines = page(path).splitlines()
    rows = [line for line in lines if line.startswith("| 16 x 48 mean | ")]
    assert len(rows) >= 3
    assert all("None" not in row for row in rows)
    tables = [line.count("|") for line in lines if line.startswith("|")]
    assert min(tables) >= 4
