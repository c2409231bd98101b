"""The parts of the GPU check of the loss: what it compares is the same loss."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from functools import partial

import loss_accuracy
import pytest
import torch
import torch.nn.functional as F
from gpu import loss, ways
from gpu.goals import FROM_SIZE
from gpu.settings import LANDED, NEW, Case, embeddings

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends.gpu import MOST_SCORES_OF_FEW_LAUNCHES


def unit_vectors(case):
    """In float32, what bfloat16 has rounded."""
    return [F.normalize(tensor.float(), dim=1) for tensor in embeddings(case, "cpu")]


def assert_same(values, expected):
    for value, truth in zip(values, expected, strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "symmetric", "none"])
def test_all_steps_compute_the_same(kind, settings, monkeypatch):
    monkeypatch.setattr(ways, "SIZES_OF_CACHED", {8: 2**16, 256: 2**16})
    monkeypatch.setattr(ways, "LARGEST_PEER", 2**17)
    case = Case(64, 24, kind)
    inputs = unit_vectors(case)
    steps = {"ours": ways.ours(kind, "auto"), "by hand": ways.ours_by_hand(kind, "auto")}
    steps |= ways.peers(case, settings)
    expected = {"ours", "by hand", "naive", "compiled_bf16", "compiled_float32"}
    assert set(steps) == expected | ({"cached_8", "cached_256"} if kind == "mean" else set())
    for step in steps.values():
        assert_same(step(*inputs), ways.ours(kind, "reference")(*inputs))


def test_every_case_is_compiled_anew(settings, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append("reset"))
    monkeypatch.setattr(torch, "compile", lambda *_, **__: calls.append("compile"))
    ways.peers(Case(4, 16, "none"), settings)
    assert calls == ["reset", "compile", "compile"]


def test_the_cached_loss_compares_by_dot_products():
    name, step = ways.cached_loss(16)
    assert name == "cached_16"
    truth = ways.step_of(partial(info_nce, temperature=0.05, backend="reference"))
    inputs = [2 * unit_vectors(Case(70, 24, "mean"))[0], unit_vectors(Case(70, 24, "mean"))[1]]
    assert_same(step(*inputs), truth(*inputs))


def test_cached_loss_where_sentence_transformers_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers.sentence_transformer.losses", None)
    name, step = ways.cached_loss(32)
    assert name == "cached_32_emulated"
    inputs = unit_vectors(Case(70, 24, "mean"))
    assert_same(step(*inputs), ways.ours("mean", "reference")(*inputs))


def test_float32_scores_are_not_rounded_to_half_precision():
    queries, passages = embeddings(Case(50, 40, "mean"), "cpu")
    scores = ways.Float32Scores.apply(queries, passages)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, queries.float() @ passages.float().T)
    step = ways.step_of(ways.cross_entropy_of_float32("symmetric"))
    value, *gradients = step(queries, passages)
    truth = ways.ours("symmetric", "reference")(queries.double(), passages.double())
    errors = ways.relative_errors((value, *gradients), truth)
    assert errors["loss"] < 1e-5
    assert errors["queries"] < 6e-3
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16] * 2


def test_errors_tell_right_from_wrong(settings, monkeypatch):
    case = Case(300, 24, "mean")
    inputs = embeddings(case, "cpu")
    steps = loss.our_steps("mean", settings)
    assert set(steps) == {LANDED, NEW}
    failed, errors = loss.errors(case, inputs, steps, settings)
    assert not failed
    assert loss.are_small(errors[NEW])
    assert not loss.are_small(errors[NEW] | {"loss": 2 * loss.LOSS_TOLERANCE})
    assert not loss.are_small(errors[NEW] | {"passages": math.nan})
    monkeypatch.setattr(loss, "CHECKED_SCORES", 10 * 300)
    _, few = loss.errors(case, inputs, steps, settings)
    assert few != errors
    assert loss.are_small(few[NEW])


def test_plan_holds_what_is_to_be_measured():
    cases = loss.plan()
    for dim in (384, 768, 1024):
        assert {Case(size, dim, "mean") for size in (4096, 16384, 65536)} <= set(cases)
    for kind in ("symmetric", "none"):
        assert {Case(size, 768, kind) for size in (16384, 65536)} <= set(cases)
    assert {Case(2**18, 768, "mean"), Case(2**20, 768, "mean")} <= set(cases)
    assert len(set(cases)) == len(cases)
    assert cases[:2] == [Case(16384, 768, "mean"), Case(65536, 768, "mean")]


def test_tiny_cases_have_names_of_their_own(settings):
    names = [task.name for task in loss.tasks(settings)]
    assert len(set(names)) == len(loss.plan()) + 1


def test_what_does_not_fit_is_not_compared(settings):
    largest = settings.scaled(Case(2**16, 768, "mean"))
    assert set(ways.peers(largest, settings)) >= {"naive", "compiled_bf16", "cached_256"}
    assert "cached_32" not in ways.peers(largest, settings)
    assert ways.peers(settings.scaled(Case(2**18, 768, "mean")), settings) == {}


def test_the_limit_is_that_of_three_products():
    # 6 B N D: 25 ms at 790 TFLOP/s, as the analysis of 64k x 768 has it.
    assert Case(65536, 768, "mean").three_products_ms(790e12) == pytest.approx(25, 0.01)


def test_a_case_gives_times_shares_and_errors(found):
    (report,) = found("loss", "16 x 48 mean").values()
    assert set(report["steps"]) == {
        LANDED, NEW, "naive", "compiled_bf16", "compiled_float32", "cached_32", "cached_256"
    }  # fmt: skip
    for way in (LANDED, NEW):
        median_ms = report["steps"][way]["median_ms"]
        assert report["shares"][way] == pytest.approx(report["three_products_ms"] / median_ms)
        assert loss.are_small(report["errors"][way])
    assert report["wrong"] == []


def test_no_time_is_given_of_a_wrong_result(settings, monkeypatch):
    def wrong(kind, backend):
        step = ways.ours(kind, "cpu")
        return lambda q, p: (
            tuple(2 * value for value in step(q, p)) if backend == NEW else step(q, p)
        )

    monkeypatch.setattr(loss, "ours_by_hand", wrong)
    settings = replace(settings, ours={LANDED: LANDED, NEW: NEW})
    report = loss.run(Case(20, 16, "mean"), settings, math.inf)
    assert report["wrong"] == [NEW]
    assert NEW not in report["steps"]
    assert report["failed"] == f"wrong results: {NEW}"
    assert report["steps"][LANDED]["median_ms"] > 0


def test_a_backend_that_is_not_there_leaves_the_other(settings):
    settings = replace(settings, ours={LANDED: "cpu", NEW: "none such"})
    report = loss.run(Case(20, 16, "symmetric"), settings, math.inf)
    assert report["steps"][NEW]["failed"].startswith("ValueError")
    assert report["steps"][LANDED]["median_ms"] > 0


def test_ways_that_are_left_out_are_not_run(settings):
    settings = replace(settings, without=frozenset({NEW, "naive"}))
    report = loss.run(Case(20, 16, "mean"), settings, math.inf)
    assert not {NEW, "naive"} & set(report["steps"])
    assert LANDED in report["steps"]


def test_a_case_that_needs_more_time_than_is_left_says_so(settings):
    report = loss.run(Case(20, 16, "mean"), settings, deadline=0)
    assert "not left" in report["skipped"]
    assert "steps" not in report


def test_accuracy_is_of_gradients_that_are_not_rounded(found):
    rows = found("loss", loss.ACCURACY)[loss.ACCURACY]["rows"]
    assert [(row["temperature"], row["kind"], row["longest"]) for row in rows] == [
        (case.temperature, "symmetric" if case.symmetric else "mean", case.longest)
        for case in loss_accuracy.CASES
    ]
    assert max(row["errors"]["bf16_scores"]["loss"] for row in rows) > 1e-2
    for row in rows:
        assert set(row["errors"]) == {LANDED, NEW, "bf16_scores", "float32_scores"}
        # A loss of 1e-14, too, is known to all digits.
        assert row["errors"][NEW]["loss"] < 1e-3
        assert row["errors"][NEW]["queries"] < 1e-2


def test_accuracy_is_of_problems_that_the_one_pass_takes():
    def taken(size):
        return size**2 > MOST_SCORES_OF_FEW_LAUNCHES

    assert taken(loss.ACCURACY_CASE.size)
    assert taken(math.isqrt(loss.CHECKED_SCORES))
    assert all(taken(case.size) for case in loss.plan() if case.size >= FROM_SIZE)
