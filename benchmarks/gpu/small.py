"""Small batches, whose time is Python's and that of launches: eager, by hand, as CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from cuda_timing import Step, measure, reported
from loss_ways import cross_entropy

from gpu.settings import Case, Settings, Task, embeddings
from gpu.ways import ours, ours_by_hand, step_of

SIZES = [2**power for power in range(6, 13)]
ROUNDS = 50


def plan() -> list[Case]:
    """Return the cases: some of each kind first."""
    first = [Case(size, 768, kind) for size in (256, 64, 1024) for kind in ("mean", "symmetric")]
    every = [Case(size, 768, kind) for size in SIZES for kind in ("mean", "symmetric")]
    return list(dict.fromkeys(first + every))


def tasks(settings: Settings) -> Iterator[Task]:
    """Give the cases of `plan`."""
    for case in plan():
        yield Task(str(scaled(case, settings)), partial(run, scaled(case, settings)), limit_s=30)


def scaled(case: Case, settings: Settings) -> Case:
    return settings.scaled(case, by=16)


def run(case: Case, settings: Settings, deadline: float) -> dict[str, Any]:
    """Return the times of one case."""
    inputs = embeddings(case, settings.device.type)
    failed: dict[str, Any] = {}
    steps: dict[str, Step] = {"naive": step_of(cross_entropy(case.kind))}
    for way, backend in settings.ours.items():
        by_hand, graph = ours_by_hand(case.kind, backend), f"{way}_graph"
        steps |= {way: ours(case.kind, backend), f"{way}_by_hand": by_hand}
        if graph not in settings.without:
            with reported(settings.device, failed, graph):
                steps[graph] = settings.device.captured(by_hand, inputs)
    steps = {way: step for way, step in steps.items() if way not in settings.without}
    measured = measure(
        settings.device, steps, inputs, deadline, most_rounds=ROUNDS, keeps_memory=True
    )
    return asdict(case) | {"steps": measured | failed}
