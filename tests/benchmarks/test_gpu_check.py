"""The parts of the GPU check that need no GPU: what it compares is the same loss."""

from __future__ import annotations

import math
import sys
from functools import partial

import cuda_timing
import gpu_check
import pytest
import torch
import torch.nn.functional as F
from gpu_check import Case

from hybrid_fast.ops import info_nce


def unit_vectors(case):
    """In float32, what bfloat16 has rounded."""
    return [F.normalize(tensor.float(), dim=1) for tensor in gpu_check.embeddings(case, "cpu")]


def assert_same(values, expected):
    for value, truth in zip(values, expected, strict=True):
        torch.testing.assert_close(value, truth, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "symmetric", "none"])
def test_all_steps_compute_the_same(kind, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    case = Case(70, 24, kind)
    inputs = unit_vectors(case)
    steps = {"ours": gpu_check.ours(kind, "auto")} | gpu_check.baselines(case)
    cached = steps.pop("sentence_transformers_cached", None)
    assert (cached is not None) == (kind == "mean")
    assert len(steps) == 4
    for step in steps.values():
        assert_same(step(*inputs), gpu_check.ours(kind, "reference")(*inputs))


def test_cached_loss_of_sentence_transformers():
    """It normalises whatever it is given."""
    name, step = gpu_check.cached_loss()
    assert name == "sentence_transformers_cached"
    truth = gpu_check.step_of(
        partial(info_nce, temperature=0.05, normalize=True, backend="reference")
    )
    inputs = unit_vectors(Case(70, 24, "mean"))
    assert_same(step(*inputs), truth(*inputs))


def test_cached_loss_where_sentence_transformers_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers.sentence_transformer.losses", None)
    name, step = gpu_check.cached_loss()
    assert name == "cached_rows_emulated"
    inputs = unit_vectors(Case(70, 24, "mean"))
    assert_same(step(*inputs), gpu_check.ours("mean", "reference")(*inputs))


def test_errors_tell_right_from_wrong(monkeypatch):
    case = Case(300, 24, "mean")
    inputs = gpu_check.embeddings(case, "cpu")
    found = gpu_check.errors(case, *inputs, "cpu")
    assert gpu_check.are_small(found)
    assert not gpu_check.are_small(found | {"loss": 2 * gpu_check.LOSS_TOLERANCE})
    assert not gpu_check.are_small(found | {"passages": math.nan})
    monkeypatch.setattr(gpu_check, "CHECKED_SCORES", 10 * 300)
    few = gpu_check.errors(case, *inputs, "cpu")
    assert few != found
    assert gpu_check.are_small(few)


def test_plan_holds_what_is_to_be_measured():
    cases = gpu_check.plan()
    for dim in (384, 768, 1024):
        assert {Case(size, dim, "mean") for size in (4096, 16384, 65536)} <= set(cases)
    for kind in ("symmetric", "none"):
        assert {Case(size, 768, kind) for size in (16384, 65536)} <= set(cases)
    assert {Case(2**18, 768, "mean"), Case(2**20, 768, "mean")} <= set(cases)
    assert len(set(cases)) == len(cases)
    assert gpu_check.baselines(Case(2**18, 768, "mean")) == {}


def test_limits():
    # 6 B N D: 25 ms at 790 TFLOP/s, as the analysis of 64k x 768 has it.
    assert gpu_check.three_products_ms(Case(65536, 768, "mean"), 790e12) == pytest.approx(25, 0.01)
    assert cuda_timing.rounds_of_case(round_s=0.01, left_s=100) == cuda_timing.MOST_ROUNDS
    assert cuda_timing.rounds_of_case(round_s=5, left_s=100) == cuda_timing.CASE_S // 5
    assert cuda_timing.rounds_of_case(round_s=5, left_s=1) == cuda_timing.FEWEST_ROUNDS


def test_no_case_is_begun_without_time():
    report = gpu_check.run(Case(4096, 768, "mean"), gpu_check.baselines, deadline=0)
    assert report == {"size": 4096, "dim": 768, "kind": "mean", "skipped": "no time left"}
