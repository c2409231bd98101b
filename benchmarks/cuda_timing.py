"""Milliseconds and memory of steps on an NVIDIA GPU, interleaved, and as CUDA graphs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from side_by_side import num_rounds
from torch import Tensor

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]  # loss and both gradients

CASE_S = 20  # for the rounds of one case, but at least FEWEST_ROUNDS
WARM_UPS, FEWEST_ROUNDS, MOST_ROUNDS = 2, 3, 10


def milliseconds(function: Callable[..., object], *arguments: Tensor) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    function(*arguments)
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def matmul_rate() -> float:
    """Return FLOP/s of a large bfloat16 product."""
    size = 8192
    a, b = (torch.randn(size, size, device="cuda").bfloat16() for _ in range(2))
    times = [milliseconds(torch.mm, a, b) for _ in range(20)]
    return 2 * size**3 / (statistics.median(times[5:]) * 1e-3)


def rounds_of_case(round_s: float, left_s: float) -> int:
    """Return how many rounds fit into what is left for one case."""
    return num_rounds(round_s, min(CASE_S, left_s), FEWEST_ROUNDS, MOST_ROUNDS)


def warm_up(step: Step, inputs: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Return milliseconds of a step and its peak MiB beyond inputs, also without gradients."""
    for _ in range(WARM_UPS - 1):
        step(*inputs)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    _, *gradients = step(*inputs)
    end.record()
    end.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    returned = sum(gradient.nbytes for gradient in gradients)
    return {
        "first_ms": start.elapsed_time(end),
        "peak_mib": peak / 2**20,
        "scratch_mib": (peak - returned) / 2**20,
    }


def measure(
    steps: Mapping[str, Step], inputs: tuple[Tensor, Tensor], deadline: float
) -> dict[str, dict[str, Any]]:
    """Return median milliseconds and memory of each step, interleaved.

    Args:
        steps: by name.
        inputs: queries and passages.
        deadline: of `time.monotonic`; what has not begun before is skipped.
    """
    results: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for name, step in steps.items():
        if time.monotonic() > deadline:
            results[name] = {"skipped": "no time left"}
            continue
        try:
            results[name] = warm_up(step, inputs)
            times[name] = []
        except torch.OutOfMemoryError:
            results[name] = {"skipped": "out of memory"}
        torch.cuda.empty_cache()
    several = len(times) > 1
    round_s = sum(results[name]["first_ms"] for name in times) * 1e-3 * (2 if several else 1)
    for _ in range(rounds_of_case(round_s, deadline - time.monotonic()) if times else 0):
        for name in times:
            if several:
                # Memory freed for another step is asked for again, which must not be timed.
                steps[name](*inputs)
            times[name].append(milliseconds(steps[name], *inputs))
            if several:
                torch.cuda.empty_cache()
    for name in times:
        del results[name]["first_ms"]
        results[name] |= {"median_ms": statistics.median(times[name]), "rounds": len(times[name])}
    return results


def captured(step: Step, inputs: tuple[Tensor, Tensor]) -> Step:
    """Return the step as a CUDA graph of these inputs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step(*inputs)

    def replay(queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        graph.replay()
        return results

    return replay
