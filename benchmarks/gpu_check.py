"""Build, test and time the loss on a machine with an NVIDIA GPU, without a network; 8 minutes.

    python benchmarks/gpu_check.py

Needs torch with CUDA, triton and pytest. Writes one JSON to benchmarks/results/. Exits with 1 if
the tests failed or a result was wrong, of which no time is then given.
"""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hybrid_fast.ops import value_and_grad  # noqa: E402

LIMIT_S = 480
BUILD_S, TESTS_S = 100, 150
SIZES, DIM, TEMPERATURE = (4096, 16384, 65536), 768, 0.05
CHECKED_ROWS = 1024  # against the definition in float32
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 6e-3  # relative; W is rounded to bfloat16
WARM_UPS, ROUNDS = 3, 10


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


def problem(size):
    generator = torch.Generator("cuda").manual_seed(0)

    def random():
        return torch.randn(size, DIM, generator=generator, device="cuda")

    passages = F.normalize(random(), dim=1)
    queries = F.normalize(passages + 2 * F.normalize(random(), dim=1), dim=1)
    return queries.bfloat16(), passages.bfloat16()


def ours(queries, passages):
    loss, gradients = value_and_grad(queries, passages, temperature=TEMPERATURE, backend="triton")
    return loss, gradients.queries, gradients.passages


def cross_entropy(queries, passages):
    labels = torch.arange(len(queries), device=queries.device)
    return F.cross_entropy(queries @ passages.T / TEMPERATURE, labels)


def step_of(loss_function):
    def step(queries, passages):
        leaves = [t.detach().requires_grad_() for t in (queries, passages)]
        loss = loss_function(*leaves)
        return loss.detach(), *torch.autograd.grad(loss, leaves)

    return step


def errors(queries, passages):
    """Return relative errors of loss and gradients of some rows, against float32."""
    queries = queries[:CHECKED_ROWS]
    loss, gradients = value_and_grad(
        queries.float(), passages.float(), temperature=TEMPERATURE, backend="reference"
    )
    truth = (loss, gradients.queries, gradients.passages)
    values = ours(queries, passages)
    return [
        ((value.float() - expected).norm() / expected.norm()).item()
        for value, expected in zip(values, truth, strict=True)
    ]


def milliseconds(function, *arguments):
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    function(*arguments)
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def measure(steps, inputs, deadline):
    """Return median milliseconds and peak MiB beyond the inputs of each step, interleaved."""
    times, peaks = {name: [] for name in steps}, {}
    for name, step in steps.items():
        try:
            for _ in range(WARM_UPS):
                step(*inputs)
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            step(*inputs)
            torch.cuda.synchronize()
            peaks[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
        except torch.OutOfMemoryError:
            pass
        torch.cuda.empty_cache()
    for _ in range(ROUNDS):
        for name in peaks:
            # Memory freed for another step is asked for again, which must not be timed.
            steps[name](*inputs)
            times[name].append(milliseconds(steps[name], *inputs))
            torch.cuda.empty_cache()
        if time.monotonic() > deadline:
            break
    return {
        name: {"median_ms": statistics.median(times[name]), "peak_mib": peaks[name]}
        if name in peaks
        else "out of memory"
        for name in steps
    }


def matmul_rate():
    """Return FLOP/s of a large bfloat16 product."""
    size = 8192
    a, b = (torch.randn(size, size, device="cuda").bfloat16() for _ in range(2))
    times = [milliseconds(torch.mm, a, b) for _ in range(20)]
    return 2 * size**3 / (statistics.median(times[5:]) * 1e-3)


def main():
    deadline = time.monotonic() + LIMIT_S
    build = command(["pip", "install", "--no-build-isolation", "--no-deps", "."], timeout_s=BUILD_S)
    tests = command(["pytest", "-m", "gpu", "-q", "tests/ops/test_gpu.py"], timeout_s=TESTS_S)
    wrong, cases = False, []
    for size in SIZES:
        if time.monotonic() > deadline - 60:
            break
        inputs = problem(size)
        case = {"queries": size, "passages": size, "dim": DIM, "dtype": "bfloat16"}
        case["errors"] = dict(zip(("loss", "queries", "passages"), errors(*inputs), strict=True))
        allowed = (LOSS_TOLERANCE, GRADIENT_TOLERANCE, GRADIENT_TOLERANCE)
        # Written so that NaN is wrong.
        if all(e <= a for e, a in zip(case["errors"].values(), allowed, strict=True)):
            rate = matmul_rate()
            steps = {
                "hybrid_fast": ours,
                "cross_entropy": step_of(cross_entropy),
                "cross_entropy_compiled": step_of(torch.compile(cross_entropy, dynamic=False)),
            }
            case["steps"] = measure(steps, inputs, deadline)
            least_ms = 6 * size * size * DIM / rate * 1e3
            case["matmul_flop_per_s"] = rate
            case["three_products_ms"] = least_ms
            if isinstance(case["steps"]["hybrid_fast"], dict):
                median_ms = case["steps"]["hybrid_fast"]["median_ms"]
                case["share_of_three_products"] = least_ms / median_ms
        else:
            wrong = True
        cases.append(case)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    report = {
        "date": today,
        "commit": commit,
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
        "build": build,
        "tests": tests,
        "cases": cases,
    }
    path = ROOT / "benchmarks" / "results" / f"{today}-gpu.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 0 if tests["passed"] and not wrong else 1


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("gpu_check needs an NVIDIA GPU and torch with CUDA")
    sys.exit(main())
