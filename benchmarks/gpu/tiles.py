"""Tiles of the one-pass kernel: which is fastest, at how many registers and spills."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from cuda_timing import reported

from gpu import one_pass
from gpu.loss import errors
from gpu.settings import NEW, Case, Settings, Task, embeddings
from gpu.ways import ours_by_hand

CASES = [Case(2**14, 768, "mean"), Case(2**14, 768, "symmetric")]
UNUSABLE = "unusable"
# Beside the tile that is taken, which comes first.
CHANGES: list[dict[str, Any]] = [
    {},
    {"descriptors": False},
    {"parts": 1},
    {"parts": 2},
    {"parts": 4},
    {"parts": 2, "num_stages": 4},
    {"rows": 256, "columns": 128, "parts": 2},
    {"rows": 128, "columns": 128, "num_stages": 4, "parts": 2},
    {"rows": 128, "columns": 128, "num_warps": 4, "num_stages": 4, "parts": 2},
    {"depth": 128, "num_stages": 2, "parts": 2},
    {"rows": 128, "columns": 256, "parts": 4, "descriptors": False, "num_stages": 4},
]


def tasks(settings: Settings) -> Iterator[Task]:
    """Give each change of the tile in each case."""
    for case in map(settings.scaled, CASES):
        for change in CHANGES:
            yield Task(name_of(case, change), partial(run, case, change), limit_s=30)


def name_of(case: Case, change: dict[str, Any]) -> str:
    said = ", ".join(f"{field} {value}" for field, value in change.items())
    return f"{case}: {said or 'as it is'}"


def run(case: Case, change: dict[str, Any], settings: Settings, deadline: float) -> dict[str, Any]:
    """Return what a tile gave, or why it cannot be used, which is no failure."""
    found: dict[str, Any] = {}
    with one_pass.changed(**change) as used:
        before = len(one_pass.compiled())
        with reported(settings.device, found, UNUSABLE):
            inputs = embeddings(case, settings.device.type)
            steps = {NEW: ours_by_hand(case.kind, settings.ours[NEW])}
            failed, found["errors"] = errors(case, inputs, steps, settings)
            found |= one_pass.timed(case, settings) if not failed else {UNUSABLE: failed[NEW]}
    if used:
        found["tile"] = asdict(used[-1])
    # What this tile has had compiled.
    return found | {"compiled": one_pass.compiled()[before:]}
