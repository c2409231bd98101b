"""Measure how far loss and gradients of bfloat16 products are from float64: no GPU is needed.

    python benchmarks/loss_accuracy.py            # three minutes of one core
    python benchmarks/loss_accuracy.py --table    # only the table, of the last run

Writes benchmarks/results/DATE-accuracy.json and the table of docs/infonce.md. All ways get the same
embeddings, which bfloat16 holds exactly, as float32 leaves: no way's gradient is rounded at the
end, which would cost 1.7e-3. The kernels of GPUs run in Triton's interpreter, mended to compute
as a GPU does (tests/ops/triton_arithmetic.py), in tiles of 128 x 128 by pointers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from machine import ROOT, commit, today, versions
from torch import Tensor

from hybrid_fast.cpu import processor
from hybrid_fast.ops import info_nce

SIZE, DIM = 2048, 384
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "infonce.md"
MARKS = "<!-- From here on: benchmarks/loss_accuracy.py -->\n", "<!-- Up to here. -->\n"

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """Queries are their passages and so many times as much noise; lengths are up to `longest`."""

    temperature: float
    noise: float
    symmetric: bool = False
    longest: float = 1.0

    def __str__(self) -> str:
        extras = ["symmetric"] * self.symmetric
        if self.longest > 1:
            extras.append(f"lengths from 1 to {self.longest:g}")
        return ", ".join([f"{self.temperature:g}".lstrip("0"), *extras])


# From what nearly every batch is like at first to one that is learnt by heart.
CASES = [
    Case(0.05, 20.0),
    Case(0.05, 2.0),
    Case(0.05, 0.7),
    Case(0.02, 1.7),
    Case(0.01, 1.5),
    Case(0.005, 20.0),
    Case(0.05, 20.0, longest=10),
    Case(0.05, 20.0, symmetric=True),
    Case(0.05, 0.7, symmetric=True),
    Case(0.01, 1.5, symmetric=True),
    Case(0.005, 20.0, symmetric=True),
]


def embeddings(case: Case, size: int, dim: int) -> tuple[Tensor, Tensor]:
    """Return queries and passages (size, dim), float32, which bfloat16 holds exactly."""
    generator = torch.Generator().manual_seed(0)

    def unit_vectors() -> Tensor:
        return F.normalize(torch.randn(size, dim, generator=generator), dim=1)

    passages, noise = unit_vectors(), unit_vectors()
    queries = F.normalize(passages + case.noise * noise, dim=1)
    lengths = case.longest ** torch.rand(2, size, 1, generator=generator)
    return tuple(
        (x * n).bfloat16().float() for x, n in zip((queries, passages), lengths, strict=True)
    )


def loss_with_all_digits(case: Case) -> Loss:
    """Return the mean loss without the cancellation of F.cross_entropy in a small one."""

    def loss(queries: Tensor, passages: Tensor) -> Tensor:
        logits = queries @ passages.T / case.temperature
        others = ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        losses = []
        for scores in (logits, logits.T)[: 1 + case.symmetric]:
            gaps = (scores - scores.diag()[:, None]).where(others, float("-inf"))
            losses.append(F.softplus(gaps.logsumexp(1), threshold=700).mean())
        return sum(losses) / len(losses)

    return loss


def cross_entropy(case: Case, product_dtype: torch.dtype) -> Loss:
    """Return the loss as a user writes it: scores of a dtype, all between the products float32."""

    def loss(queries: Tensor, passages: Tensor) -> Tensor:
        scores = queries.to(product_dtype) @ passages.to(product_dtype).T
        labels = torch.arange(len(queries), device=queries.device)
        logits = scores.float() / case.temperature
        directions = (logits, logits.T)[: 1 + case.symmetric]
        return sum(F.cross_entropy(of, labels) for of in directions) / len(directions)

    return loss


def ours(case: Case, backend: str) -> Loss:
    options = {"temperature": case.temperature, "symmetric": case.symmetric}
    return lambda q, p: info_nce(q, p, backend=backend, precision="bf16", **options)


WAYS: dict[str, Callable[[Case], Loss]] = {
    "naive, bf16 scores": lambda case: cross_entropy(case, torch.bfloat16),
    "naive, float32": lambda case: cross_entropy(case, torch.float32),
    "`triton`": lambda case: ours(case, "triton"),
    "`triton_one_pass`": lambda case: ours(case, "triton_one_pass"),
    "`cpu`": lambda case: ours(case, "cpu"),
}


def value_and_gradients(loss: Loss, *embeddings: Tensor) -> list[Tensor]:
    leaves = [each.detach().clone().requires_grad_() for each in embeddings]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


@dataclass(frozen=True)
class Errors:
    """Relative errors (of a gradient: of its norm) by way: of loss, queries and passages."""

    case: Case
    loss: float
    of_ways: dict[str, list[float]]


def measure(case: Case, size: int, dim: int, ways: list[str], device: str = "cpu") -> Errors:
    """Compare ways with float64 on the same embeddings."""
    inputs = [each.to(device) for each in embeddings(case, size, dim)]
    truth = value_and_gradients(loss_with_all_digits(case), *(x.double() for x in inputs))
    found = {}
    for way in ways:
        values = value_and_gradients(WAYS[way](case), *inputs)
        found[way] = [
            ((value.double() - true).norm() / true.norm()).item()
            for value, true in zip(values, truth, strict=True)
        ]
    return Errors(case, truth[0].item(), found)


def run(size: int = SIZE, dim: int = DIM) -> dict[str, object]:
    """Measure all cases in Triton's interpreter, which TRITON_INTERPRET=1 must have chosen."""
    import pytest
    from triton_interpreter import in_the_interpreter

    from hybrid_fast.ops.backends import gpu

    results = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        in_the_interpreter(monkeypatch)
        monkeypatch.setattr(gpu, "MOST_SCORES_OF_FEW_LAUNCHES", 0)
        for case in CASES:
            results.append(measure(case, size, dim, list(WAYS)))
            print(row(results[-1]), flush=True)
    return {
        "date": today(),
        "commit": commit(),
        "versions": versions() | {"triton": sys.modules["triton"].__version__},
        "processor": processor()["name"] or platform.processor(),
        "size": size,
        "dim": dim,
        "results": [asdict(each) for each in results],
    }


def short(value: float) -> str:
    """Return a number with one digit: 2e-4, .3, 7."""
    if value >= 0.1:
        return f"{value:.1g}".lstrip("0") if value < 1 else f"{value:.0f}"
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def row(errors: Errors) -> str:
    ways = (" / ".join(map(short, found)) for found in errors.of_ways.values())
    loss = f"{errors.loss:.2g}" if errors.loss >= 0.1 else short(errors.loss)
    return f"| {' | '.join([str(errors.case), loss, *ways])} |"


def table(found: dict[str, object], file: str) -> str:
    """Return the table of the page, of the JSON of a run."""
    results = [
        Errors(Case(**each["case"]), each["loss"], each["of_ways"]) for each in found["results"]
    ]
    names = ["temperature", "loss", *results[0].of_ways]
    packages = ", ".join(f"{name} {found['versions'][name]}" for name in ("torch", "triton"))
    return "\n".join(
        [
            f"| {' | '.join(names)} |",
            "|---" * len(names) + "|",
            *map(row, results),
            f"\n{found['size']:,} x {found['dim']}, {found['date']}, {packages}; "
            f"[JSON](../benchmarks/results/{file}).\n",
        ]
    )


def page(results: Path = RESULTS) -> str:
    """Return the page with the table of the newest run, its other text as it is."""
    newest = max(results.glob("*-accuracy.json"))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    found = json.loads(newest.read_text(encoding="utf-8"))
    return before + MARKS[0] + "\n" + table(found, newest.name) + "\n" + MARKS[1] + after


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure errors of the loss and its gradients, and write JSON and table."
    )
    parser.add_argument("--table", action="store_true", help="only make the table of the last run")
    if not parser.parse_args().table:
        os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported
        sys.path.append(str(ROOT / "tests" / "ops"))
        found = run()
        path = RESULTS / f"{found['date']}-accuracy.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
