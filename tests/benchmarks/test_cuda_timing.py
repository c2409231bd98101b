"""Measuring in turns, and what becomes of ways that cannot run."""

from __future__ import annotations

import time

import cuda_timing
import pytest
import torch
from cuda_timing import DeviceLostError, ProcessorStandIn, measure

FOREVER = float("inf")


class Clock(ProcessorStandIn):
    """A device whose steps take the milliseconds that they say, and that can break."""

    def __init__(self):
        self.broken = False

    def milliseconds(self, function, *arguments):
        return function(*arguments)[0]

    def works(self):
        return not self.broken


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(Clock, "allocated_bytes", lambda _: 0)
    monkeypatch.setattr(Clock, "peak_bytes", lambda _: 3 * 2**20)
    device = Clock()
    monkeypatch.setattr(cuda_timing, "warm_up", warm_up)
    return device


def warm_up(device, step, inputs):
    return {"first_ms": device.milliseconds(step, *inputs), "peak_mib": 3, "scratch_mib": 1}


def taking(ms, calls, name):
    def step(queries, passages):
        calls.append(name)
        return ms, None, None

    return step


def test_steps_run_in_turns_and_slow_ones_once(device):
    calls = []
    steps = {name: taking(ms, calls, name) for name, ms in (("a", 1), ("b", 2), ("slow", 1e5))}
    results = measure(device, steps, (None, None), FOREVER)
    assert calls[:3] == ["a", "b", "slow"]
    assert calls[3:] == ["a", "a", "b", "b"] * cuda_timing.MOST_ROUNDS
    assert results["b"] == {
        "peak_mib": 3, "scratch_mib": 1, "median_ms": 2, "rounds": cuda_timing.MOST_ROUNDS
    }  # fmt: skip
    assert results["slow"]["median_ms"] == 1e5
    assert results["slow"]["rounds"] == 1


def test_small_steps_keep_their_memory(device):
    calls = []
    steps = {name: taking(1, calls, name) for name in ("a", "b")}
    measure(device, steps, (None, None), FOREVER, most_rounds=4, keeps_memory=True)
    assert calls == ["a", "b"] * 5


def test_a_way_without_memory_or_with_a_fault_leaves_the_others(device):
    def without_memory(*_):
        raise torch.OutOfMemoryError

    def faulty(*_):
        raise ValueError("no such tile")

    steps = {"none": without_memory, "faulty": faulty, "good": taking(1, [], "good")}
    results = measure(device, steps, (None, None), FOREVER)
    assert results["none"] == {"skipped": "out of memory"}
    assert results["faulty"] == {"failed": "ValueError: no such tile"}
    assert results["good"]["median_ms"] == 1
    assert device.way is None


def test_a_fault_in_a_later_round_takes_the_place_of_the_times(device):
    calls = []

    def fails_later(*_):
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("misaligned")
        return 1.0, None, None

    results = measure(device, {"a": fails_later, "b": taking(1, [], "b")}, (None, None), FOREVER)
    assert results["a"] == {"failed": "RuntimeError: misaligned"}
    assert results["b"]["rounds"] == cuda_timing.MOST_ROUNDS


def test_a_device_that_answers_no_more_is_said_with_the_way(device):
    def breaks(*_):
        device.broken = True
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(DeviceLostError, match="illegal memory access") as error:
        measure(device, {"bad": breaks, "good": taking(1, [], "good")}, (None, None), FOREVER)
    assert error.value.way == "bad"


def test_nothing_is_begun_without_time(device):
    calls = []
    results = measure(device, {"a": taking(1, calls, "a")}, (None, None), time.monotonic() - 1)
    assert results == {"a": {"skipped": "no time left"}}
    assert not calls


def test_the_stand_in_measures_time_and_memory():
    device = ProcessorStandIn()
    step = taking(0.0, [], "a")
    found = measure(device, {"a": lambda q, p: (q, q, q)}, (torch.ones(2), None), FOREVER)["a"]
    assert found["median_ms"] > 0
    assert found["peak_mib"] - found["scratch_mib"] == pytest.approx(2 * 8 / 2**20)
    assert device.captured(step, (None, None)) is step


def test_limits():
    assert cuda_timing.rounds_of_case(round_s=0.01, left_s=100) == cuda_timing.MOST_ROUNDS
    assert cuda_timing.rounds_of_case(round_s=2, left_s=100) == cuda_timing.CASE_S // 2
    assert cuda_timing.rounds_of_case(round_s=5, left_s=1) == cuda_timing.FEWEST_ROUNDS


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_products_of_the_stand_in(dtype):
    device = ProcessorStandIn()
    a, b = (torch.randn(5, 5).bfloat16() for _ in range(2))
    expected = a.float() @ b.float()
    tolerance = 1e-6 if dtype else 1e-2
    out = torch.empty(5, 5, dtype=dtype or torch.bfloat16)
    assert device.product(a, b, dtype, out=out) is out
    torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance)
    total = torch.ones(5, 5)
    torch.testing.assert_close(device.add_product(total, a, b), expected + 1)
