"""Training in the GPU check: runs of every way, and what stays of one that ends early."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict

import pytest
import torch
from gpu import processes, training
from gpu.training import OURS, THEIRS, WAYS, Run
from gpu.training_run import Run as InProcess
from gpu.training_run import hold_cudnn


@pytest.fixture
def trained(tmp_path):
    """A function that trains in this process and returns what was written."""

    def train(way, *, folder=tmp_path, **more):
        out = folder / f"{way}.json"
        given = asdict(Run(way, 8192, 2)) | {
            "arguments": {}, "cudnn": None, "tiny": True, "folder": str(folder), "out": str(out)
        } | more  # fmt: skip
        InProcess(given).train()
        return json.loads(out.read_text())

    return train


def test_plan_has_every_way_and_both_sizes_with_and_without_dropout():
    plan = training.plan()
    runs = {(run.way, run.batch, run.dropout) for run in plan}
    for batch in (8192, 65536):
        for dropout in (0.0, 0.1):
            for way in ("default", "compiled", THEIRS):
                assert (way, batch, dropout) in runs
    assert {("padded", 8192, 0.0), ("padded_cudnn", 8192, 0.0)} <= runs
    assert len(runs) == len(plan)
    assert {run.way for run in plan} == set(WAYS)
    assert WAYS["compiled"][1] == {"torch_compile": True}


def test_ours_and_theirs_see_the_same_texts(trained, monkeypatch):
    ours = trained("default", profiled=True, dropout=0.1)
    theirs = trained(THEIRS)
    for found in (ours, theirs):
        assert len(found["steps_s"]) == len(found["losses"]) == 2
        assert found["first_s"] == found["steps_s"][0]
        assert found["median_s"] == found["steps_s"][1]
        assert found["pairs_per_s"] == pytest.approx(16 / found["median_s"])
        assert found["tokens_per_s"] == pytest.approx(found["tokens"] / found["median_s"])
        assert all(math.isfinite(loss) for loss in found["losses"])
        assert found["peak_gib"] > 0
    assert (ours["tokens"], ours["flop"]) == (theirs["tokens"], theirs["flop"])
    assert ours["profile"]["total_ms"] > 0
    assert "profile" not in theirs
    assert set(ours["budget"]) == {"micro_batch", "cached"}
    assert 0 <= ours["kept_share"] <= 1
    assert ours["padding_share"] == 0
    assert ours["loss_precision"] in ("float32", "bf16")


def test_the_arithmetic_is_six_a_weight_and_token(trained):
    found = trained("default", dropout=0.0)
    weights = 2 * (4 * (64 * 64 + 64) + 2 * 64 * 256 + 256 + 64 + 4 * 64)
    of_weights = 6 * weights * found["tokens"]
    assert of_weights < found["flop"] < 1.5 * of_weights


def test_cudnn_stays_as_it_was_chosen(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", chosen.append)
    hold_cudnn(True)
    torch.backends.cuda.enable_cudnn_sdp(False)
    assert chosen == [True]


def test_a_run_is_told_its_way(settings, monkeypatch):
    given = []

    def run(arguments, timeout_s, environment):
        given.append((json.loads(arguments[-1]), timeout_s, environment))
        return 0, ""

    monkeypatch.setattr(processes, "run", run)
    training.run(Run("padded", 65536, 2, 0.1), settings, time.monotonic() + 40)
    specification, timeout_s, environment = given[0]
    assert specification["dropout"] == 0.1
    assert specification["cudnn"] is False
    assert environment["HYBRID_FAST_WAYS"] == "attention=torch"
    assert timeout_s == pytest.approx(40, abs=1)
    training.run(Run("compiled", 8192, 2), settings, math.inf)
    assert given[1][0]["arguments"] == {"torch_compile": True}
    assert given[1][1] == 90
    assert set(OURS) == set(WAYS) - {THEIRS}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"steps_s": [1.0], "median_s": 1.0}, "ended_early"),
        ({"setup_s": 1.0}, "failed"),
        (None, "failed"),
    ],
)
def test_steps_that_were_measured_before_the_end_stay(written, expected, settings, monkeypatch):
    def run(arguments, timeout_s, environment):
        if written is not None:
            out = json.loads(arguments[-1])["out"]
            training.Path(out).write_text(json.dumps(written))
        return None, "stopped after 9 s"

    monkeypatch.setattr(processes, "run", run)
    found = training.run(Run("default", 8192, 2), settings, math.inf)
    assert found[expected] == "stopped after 9 s"
    assert (written or {}).items() <= found.items()


@pytest.mark.slow
def test_a_run_in_a_process_of_its_own(settings):
    found = training.run(Run("padded", 8192, 2, limit_s=120), settings, math.inf)
    assert "failed" not in found
    assert found["padding_share"] > 0
    assert len(found["steps_s"]) == 2
    # Equal weights and texts: the first loss is that of texts without padding.
    other = training.run(Run("default", 8192, 2, limit_s=120), settings, math.inf)
    assert other["padding_share"] == 0
    assert other["losses"][0] == pytest.approx(found["losses"][0], rel=5e-3)


def test_without_its_packages_no_process_is_begun(settings, monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None if name == "babel" else name)
    monkeypatch.setattr(processes, "run", lambda *_, **__: pytest.fail("a process was begun"))
    found = training.run(training.plan()[0], settings, math.inf)
    assert found == {"skipped": "needs babel, not installed; see CONTRIBUTING.md"}
