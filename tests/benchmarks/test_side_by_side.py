"""Interleaved timing: who runs when, and how often."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import side_by_side
from side_by_side import num_rounds


class Clock:
    """Time that passes only where a way says so."""

    def __init__(self):
        self.now = 0.0

    def way(self, calls, name, seconds):
        def run():
            calls.append(name)
            self.now += seconds

        return run


class Benchmark:
    """What is used of pytest-benchmark's fixture."""

    def __init__(self, clock):
        self.extra_info, self._clock = {}, clock

    def pedantic(self, target, setup, rounds):
        for _ in range(rounds):
            setup()
            begin = self._clock.now
            target()
        median = self._clock.now - begin
        self.stats = SimpleNamespace(stats=SimpleNamespace(median=median))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(side_by_side.time, "perf_counter", lambda: clock.now)
    return clock


def test_all_run_in_each_round_ours_last(clock):
    calls, benchmark = [], Benchmark(clock)
    ways = {name: clock.way(calls, name, s) for name, s in (("ours", 1), ("a", 2), ("b", 3))}
    medians = side_by_side.side_by_side(benchmark, ways, budget_s=20, fewest=1)
    assert calls == ["ours", "a", "b", *["a", "b", "ours"] * 2]
    assert medians == {"ours": 1, "a": 2, "b": 3}
    assert benchmark.extra_info == {"median_seconds": medians, "rounds": 2}


def test_rounds_follow_the_budget_within_limits():
    assert num_rounds(round_s=2, budget_s=20, fewest=3, most=20) == 10
    assert num_rounds(round_s=0.01, budget_s=20, fewest=3, most=20) == 20
    assert num_rounds(round_s=15, budget_s=20, fewest=3, most=20) == 3
    assert num_rounds(round_s=15, budget_s=-5, fewest=3, most=20) == 3
