"""Build, test and time the loss on a machine with an NVIDIA GPU, without a network; 8 minutes.

    make gpu-check

Needs torch with CUDA, triton and pytest. Writes one JSON to benchmarks/results/. Exits with 1 if
the tests failed or a result was wrong, of which no time is then given. Cases for which no time or
memory is left are named there with the reason; the most important come first.

Timed, forward and backward, interleaved: ours; `reference`, the definition in plain torch;
F.cross_entropy as a user writes it, plain and under torch.compile; the loss stage of
sentence-transformers' cached loss, or what it does where that is not installed. Small batches also
as a CUDA graph. The limit is that of three products at the rate of one, measured beside each case.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from cuda_timing import FEWEST_ROUNDS, WARM_UPS, Step, captured, matmul_rate, measure
from loss_ways import NO_ENCODER, TEMPERATURE, cross_entropy
from machine import ROOT, commit, today
from torch import Tensor

from hybrid_fast.ops import info_nce, value_and_grad

LIMIT_S = 480
BUILD_S, TESTS_S = 100, 200
LARGEST_BASELINE = 65536  # beyond it B x N scores do not fit
CHECKED_SCORES = 2**26  # of some rows, against the definition in float32
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 6e-3  # relative; W is rounded to bfloat16


@dataclass(frozen=True)
class Case:
    """B = N = size, bfloat16."""

    size: int
    dim: int
    kind: str  # "mean", "symmetric" or "none"


def plan() -> list[Case]:
    """Return the cases, the most important first."""
    sizes = (4096, 16384, 65536)
    return [
        *[Case(size, 768, "mean") for size in sizes],
        *[Case(size, 768, kind) for kind in ("symmetric", "none") for size in sizes[1:]],
        Case(2**18, 768, "mean"),
        Case(2**20, 768, "mean"),
        *[Case(size, dim, "mean") for dim in (384, 1024) for size in sizes],
    ]


SMALL_CASES = [
    Case(size, 768, kind) for kind in ("mean", "symmetric") for size in (64, 128, 256, 512, 1024)
]


def command(arguments, timeout_s):
    """Return how a command ended and the end of what it said."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return {"passed": False, "output": f"stopped after {timeout_s} s"}
    return {"passed": done.returncode == 0, "output": done.stdout[-3000:]}


def embeddings(case: Case, device: str) -> tuple[Tensor, Tensor]:
    """Return unit vectors of a loss as in the middle of a training."""
    generator = torch.Generator(device).manual_seed(0)

    def random():
        return torch.randn(case.size, case.dim, generator=generator, device=device)

    passages = F.normalize(random(), dim=1)
    queries = F.normalize(passages + 2 * F.normalize(random(), dim=1), dim=1)
    return queries.bfloat16(), passages.bfloat16()


def ours(kind: str, backend: str) -> Step:
    """Return the library's step."""
    if kind == "none":
        return step_of(
            lambda q, p: info_nce(q, p, temperature=TEMPERATURE, reduction="none", backend=backend)
        )

    def step(queries, passages):
        loss, gradients = value_and_grad(
            queries,
            passages,
            temperature=TEMPERATURE,
            symmetric=kind == "symmetric",
            backend=backend,
        )
        return loss, gradients.queries, gradients.passages

    return step


def step_of(loss_function: Callable[[Tensor, Tensor], Tensor]) -> Step:
    """Return loss and gradients; rows of a loss have upstream gradients of their own."""

    def step(queries, passages):
        leaves = [t.detach().requires_grad_() for t in (queries, passages)]
        loss = loss_function(*leaves)
        upstream = None
        if loss.ndim == 1:
            upstream = torch.linspace(0.5, 1.5, len(loss), dtype=loss.dtype, device=loss.device)
            upstream /= len(loss)
        return loss.detach(), *torch.autograd.grad(loss, leaves, upstream)

    return step


def cached_loss() -> tuple[str, Step]:
    """Return the loss stage of sentence-transformers' cached loss, 32 rows at a time."""
    try:
        from sentence_transformers.sentence_transformer.losses import (
            CachedMultipleNegativesRankingLoss,
        )
    except ImportError:
        name, loss_function = "cached_rows_emulated", lambda q, p: cached_rows(q, p, rows=32)
    else:
        loss = CachedMultipleNegativesRankingLoss(NO_ENCODER, scale=1 / TEMPERATURE)
        name = "sentence_transformers_cached"

        def loss_function(q, p):
            return loss.calculate_loss([[q], [p]], None, with_backward=True)

    def step(queries, passages):
        leaves = [t.detach().requires_grad_() for t in (queries, passages)]
        value = loss_function(*leaves)  # goes backward by itself
        return value.detach(), leaves[0].grad, leaves[1].grad

    return name, step


def cached_rows(queries: Tensor, passages: Tensor, rows: int) -> Tensor:
    """What that loss does: rows at a time, each going backward at once."""
    total = torch.zeros((), device=queries.device)
    for first in range(0, len(queries), rows):
        part = queries[first : first + rows]
        labels = torch.arange(first, first + len(part), device=queries.device)
        loss = F.cross_entropy(part @ passages.T / TEMPERATURE, labels) * len(part) / len(queries)
        loss.backward()
        total += loss.detach()
    return total


def baselines(case: Case) -> dict[str, Step]:
    """Return what a case is compared with."""
    if case.size > LARGEST_BASELINE:
        return {}
    steps = {
        "reference": ours(case.kind, "reference"),
        "cross_entropy": step_of(cross_entropy(case.kind)),
        "cross_entropy_compiled": step_of(torch.compile(cross_entropy(case.kind), dynamic=False)),
    }
    if case.kind == "mean":
        name, step = cached_loss()
        steps[name] = step
    return steps


def errors(case: Case, queries: Tensor, passages: Tensor, backend: str) -> dict[str, float]:
    """Return relative errors of loss and gradients of some rows, against float32."""
    queries = queries[: max(CHECKED_SCORES // len(passages), 1)]
    truth = ours(case.kind, "reference")(queries.float(), passages.float())
    values = ours(case.kind, backend)(queries, passages)
    return {
        name: ((value.float() - expected).norm() / expected.norm()).item()
        for name, value, expected in zip(
            ("loss", "queries", "passages"), values, truth, strict=True
        )
    }


def are_small(relative_errors: dict[str, float]) -> bool:
    """Tell whether a result is right; NaN is wrong."""
    allowed = {"loss": LOSS_TOLERANCE}
    return all(
        error <= allowed.get(name, GRADIENT_TOLERANCE) for name, error in relative_errors.items()
    )


def three_products_ms(case: Case, flop_per_s: float) -> float:
    """Return how long the scores and both gradients take at the rate of one product."""
    return 6 * case.size**2 * case.dim / flop_per_s * 1e3


def run(case: Case, steps: Callable[[Case], dict[str, Step]], deadline: float):
    """Return errors of one case and, if they are small, times."""
    report = asdict(case)
    if time.monotonic() > deadline:
        return report | {"skipped": "no time left"}
    try:
        inputs = embeddings(case, "cuda")
        report["errors"] = errors(case, *inputs, "triton")
    except torch.OutOfMemoryError:
        return report | {"skipped": "out of memory"}
    if not are_small(report["errors"]):
        return report | {"wrong": True}
    rate = matmul_rate()
    limit_ms = three_products_ms(case, rate)
    needed_s = (WARM_UPS + FEWEST_ROUNDS) * 2 * limit_ms * 1e-3
    if time.monotonic() + needed_s > deadline:
        return report | {"skipped": f"needs about {needed_s:.0f} s, which are not left"}
    step = ours(case.kind, "triton")
    report["steps"] = measure({"hybrid_fast": step} | steps(case), inputs, deadline)
    report |= {"matmul_flop_per_s": rate, "three_products_ms": limit_ms}
    median_ms = report["steps"]["hybrid_fast"].get("median_ms")
    if median_ms is not None:
        report["share_of_three_products"] = limit_ms / median_ms
    return report


def steps_of_small_batches(case: Case) -> dict[str, Step]:
    """Return ours as a graph, and the loss as a user writes it."""
    graph = captured(ours(case.kind, "triton"), embeddings(case, "cuda"))
    return {"hybrid_fast_graph": graph, "cross_entropy": step_of(cross_entropy(case.kind))}


def main() -> int:
    deadline = time.monotonic() + LIMIT_S
    build = command(["pip", "install", "--no-build-isolation", "--no-deps", "."], timeout_s=BUILD_S)
    tests = command(["pytest", "-m", "gpu", "-q", "tests/ops/test_gpu.py"], timeout_s=TESTS_S)
    small = [run(case, steps_of_small_batches, deadline) for case in SMALL_CASES]
    cases = [run(case, baselines, deadline) for case in plan()]
    report = {
        "date": today(),
        "commit": commit(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
        "build": build,
        "tests": tests,
        "small_cases": small,
        "cases": cases,
    }
    path = ROOT / "benchmarks" / "results" / f"{today()}-gpu.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    is_wrong = any("wrong" in case for case in (*small, *cases))
    return 0 if tests["passed"] and not is_wrong else 1


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("gpu_check needs an NVIDIA GPU and torch with CUDA")
    sys.exit(main())
