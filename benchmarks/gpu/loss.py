"""The loss against its limit and its peers, case by case, the most important first; its accuracy.

Times are of forward and backward, all ways of a case in turns. The limit is the time of three
products at the rate of one, measured beside the case. Ours is compared with the definition in
float64 on the same bfloat16 inputs first: of a wrong result no time is given.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import loss_accuracy
import torch
from cuda_timing import SQUARE, Step, matmul_rate, measure, reported
from loss_accuracy import CASES, loss_with_all_digits, value_and_gradients
from loss_accuracy import Case as AccuracyCase
from torch import Tensor

from gpu.settings import Case, Settings, Task, embeddings
from gpu.ways import ours, ours_by_hand, peers, relative_errors

CHECKED_SCORES = 2**26  # of some rows, against the definition
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 6e-3  # relative; gradients are rounded to bfloat16
ACCURACY = "accuracy"
ACCURACY_CASE = Case(2**13, 768, "")  # of more scores than those that the one pass leaves alone
RUNS_OF_SLOW = 2  # one is not timed


def plan() -> list[Case]:
    """Return the cases, the most important first."""
    return [
        *[Case(size, 768, "mean") for size in (2**14, 2**16)],
        *[Case(size, 768, "symmetric") for size in (2**16, 2**14)],
        Case(2**16, 768, "none"),
        Case(2**14, 384, "mean"),
        Case(2**18, 768, "mean"),
        Case(2**14, 768, "none"),
        *[Case(2**16, dim, "mean") for dim in (384, 1024)],
        Case(2**20, 768, "mean"),
        Case(2**14, 1024, "mean"),
        Case(2**15, 768, "symmetric"),
        *[Case(2**12, 768, kind) for kind in ("mean", "symmetric", "none")],
        *[Case(2**12, dim, "mean") for dim in (384, 1024)],
    ]


def tasks(settings: Settings) -> Iterator[Task]:
    """Give the accuracy and the cases of `plan`."""
    yield Task(ACCURACY, accuracy, limit_s=60)
    for case in map(settings.scaled, plan()):
        yield Task(str(case), partial(run, case), limit_s=120)


def run(case: Case, settings: Settings, deadline: float) -> dict[str, Any]:
    """Return errors, times and shares of one case."""
    device, report = settings.device, asdict(case)
    inputs = embeddings(case, device.type)
    steps = our_steps(case.kind, settings)
    failed, report["errors"] = errors(case, inputs, steps, settings)
    report["wrong"] = [way for way, found in report["errors"].items() if not are_small(found)]
    rate = matmul_rate(device, settings.scaled(Case(SQUARE, 16, ""), by=64).size)
    limit_ms = case.three_products_ms(rate)
    report |= {"matmul_flop_per_s": rate, "three_products_ms": limit_ms}
    needed_s = RUNS_OF_SLOW * len(steps) * 2 * limit_ms * 1e-3
    if time.monotonic() + needed_s > deadline:
        return report | {"skipped": f"needs about {needed_s:.0f} s, which are not left"}
    right = {way: steps[way] for way in report["errors"] if way not in report["wrong"]}
    beside = {
        way: step for way, step in peers(case, settings).items() if way not in settings.without
    }
    measured = measure(device, right | beside, inputs, deadline)
    report["steps"] = measured | failed
    report["shares"] = {
        way: limit_ms / measured[way]["median_ms"] for way in right if "median_ms" in measured[way]
    }
    if report["wrong"]:
        report["failed"] = f"wrong results: {', '.join(report['wrong'])}"
    return report


def our_steps(kind: str, settings: Settings) -> dict[str, Step]:
    """Return the steps of our ways, but for those that are left out."""
    return {
        way: ours_by_hand(kind, backend)
        for way, backend in settings.ours.items()
        if way not in settings.without
    }


def errors(
    case: Case, inputs: tuple[Tensor, Tensor], steps: dict[str, Step], settings: Settings
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """Return why ways could not run, and relative errors of the others, of some rows."""
    queries, passages = inputs
    queries = queries[: max(CHECKED_SCORES // len(passages), 1)]
    truth = ours(case.kind, "reference")(queries.double(), passages.double())
    failed: dict[str, Any] = {}
    found = {}
    for way, step in steps.items():
        with reported(settings.device, failed, way):
            found[way] = relative_errors(step(queries, passages), truth)
    settings.device.empty_cache()
    return failed, found


def are_small(found: dict[str, float]) -> bool:
    """Tell whether a result is right; NaN is wrong."""
    allowed = {"loss": LOSS_TOLERANCE}
    return all(error <= allowed.get(name, GRADIENT_TOLERANCE) for name, error in found.items())


def accuracy(settings: Settings, deadline: float) -> dict[str, Any]:
    """Return errors of loss and gradients in the cases of `loss_accuracy`."""
    return {"rows": [errors_at(case, settings) for case in CASES]}


def errors_at(case: AccuracyCase, settings: Settings) -> dict[str, Any]:
    """Return the errors of our ways and of cross-entropy with bfloat16 and float32 scores.

    Of float32 leaves with the values of bfloat16 ones, so that gradients are not rounded at last.
    """
    device, sizes = settings.device, settings.scaled(ACCURACY_CASE, by=128)
    inputs = [x.to(device.type) for x in loss_accuracy.embeddings(case, sizes.size, sizes.dim)]
    truth = value_and_gradients(loss_with_all_digits(case), *(x.double() for x in inputs))
    losses = {
        way: loss_accuracy.ours(case, backend)
        for way, backend in settings.ours.items()
        if way not in settings.without
    }
    losses |= {
        "bf16_scores": loss_accuracy.cross_entropy(case, torch.bfloat16),
        "float32_scores": loss_accuracy.cross_entropy(case, torch.float32),
    }
    found: dict[str, Any] = {}
    for way, loss in losses.items():
        with reported(device, found, way):
            found[way] = relative_errors(value_and_gradients(loss, *inputs), truth)
    return {
        "kind": "symmetric" if case.symmetric else "mean",
        "temperature": case.temperature,
        "longest": case.longest,
        "loss": truth[0].item(),
        "errors": found,
    }
