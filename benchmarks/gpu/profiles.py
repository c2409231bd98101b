"""Where the time goes by kernel: of steps of the loss and of a step of training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from cuda_timing import Device, Step, reported
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from gpu import training
from gpu.settings import Case, Settings, Task, embeddings
from gpu.ways import ours_by_hand

CASES = [
    Case(2**16, 768, "mean"),
    Case(2**14, 768, "mean"),
    Case(2**16, 768, "symmetric"),
    Case(2**14, 768, "symmetric"),
]
WARM_UPS, STEPS = 2, 3
MOST_ROWS, LONGEST_NAME = 20, 120


def tasks(settings: Settings) -> Iterator[Task]:
    """Give the steps of the loss, and one of training."""
    for case in map(settings.scaled, CASES):
        yield Task(str(case), partial(of_loss, case), needs_s=5, limit_s=40)
    run = training.PROFILED
    yield Task(str(run), partial(training.run, run), needs_s=30, limit_s=150)


def of_loss(case: Case, settings: Settings, deadline: float) -> dict[str, Any]:
    """Return the kernels of each of our ways."""
    inputs = embeddings(case, settings.device.type)
    found: dict[str, Any] = {}
    for way, backend in settings.ours.items():
        if way in settings.without:
            continue
        step = ours_by_hand(case.kind, backend)
        with reported(settings.device, found, way):
            profiled = profile_of(step, inputs, settings.device)
            found[way] = shown(rows_of(settings.device, profiled, STEPS))
    return {"ways": found}


def profile_of(step: Step, inputs: tuple[Tensor, Tensor], device: Device) -> profile:
    """Return the profile of STEPS steps of the loss."""
    for _ in range(WARM_UPS):
        step(*inputs)
    device.synchronize()
    with profiler(device) as profiled:
        for _ in range(STEPS):
            step(*inputs)
        device.synchronize()
    return profiled


def profiler(device: Device) -> profile:
    """Return a profiler of kernels, and of the host where there are none."""
    return profile(activities=list({ProfilerActivity.CPU, device.activity}))


def rows_of(device: Device, profiled: profile, steps: int) -> list[dict[str, Any]]:
    """Return all kernels of a step, most time first."""
    rows = [
        {
            "kernel": event.key[:LONGEST_NAME],
            "ms": device.time_of(event) / 1e3 / steps,
            "calls": event.count / steps,
        }
        for event in profiled.key_averages()
        if device.time_of(event) > 0
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def shown(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the kernels that take most time, and the milliseconds of all."""
    return {"total_ms": sum(row["ms"] for row in rows), "kernels": rows[:MOST_ROWS]}
