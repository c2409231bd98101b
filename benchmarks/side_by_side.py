"""Ours and its baselines timed in turn: what slows the machine for a while slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Way = Callable[[], object]


def num_rounds(round_s: float, budget_s: float, fewest: int, most: int) -> int:
    """Return how many rounds fit a budget, within limits."""
    return max(fewest, min(most, int(budget_s / round_s)))


def seconds_of(way: Way) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def side_by_side(
    benchmark: Any, ways: Mapping[str, Way], budget_s: float, *, fewest: int = 3, most: int = 20
) -> dict[str, float]:
    """Return the median seconds of each way.

    Each is run once untimed; how long that took tells how many rounds fit. In a round each is run
    once, ours last. All medians go into `extra_info`.

    Args:
        benchmark: the fixture of pytest-benchmark, whose own figures are those of ours.
        ways: ours first, then its baselines.
        budget_s: for all rounds, the untimed one included.
        fewest: rounds, whatever they take.
        most: rounds, however fast they are.
    """
    (_, ours), *baselines = ways.items()
    round_s = sum(seconds_of(way) for way in ways.values())
    times: dict[str, list[float]] = {name: [] for name, _ in baselines}

    def run_baselines() -> None:
        for name, way in baselines:
            times[name].append(seconds_of(way))

    rounds = num_rounds(round_s, budget_s - round_s, fewest, most)
    benchmark.pedantic(ours, setup=run_baselines, rounds=rounds)
    medians = {next(iter(ways)): benchmark.stats.stats.median}
    medians |= {name: statistics.median(found) for name, found in times.items()}
    benchmark.extra_info |= {"median_seconds": medians, "rounds": rounds}
    return medians
