"""Time and memory of the loss, forward and backward, on the CPU.

Baselines: `reference`, the definition in plain torch; `naive`, F.cross_entropy as a user writes it,
and the same under torch.compile; sentence-transformers' cached loss on given embeddings (its
default takes 32 rows at a time; also 512). For bfloat16 the baseline is `mm().float()`. Before
anything is timed, loss and gradients are compared with float64. The limit is the time of the three
products at the best rate of torch's libraries. Peak memory is measured in fresh processes, each of
which runs one of them.
"""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch
from loss_ways import (
    cached_loss,
    cross_entropy,
    embeddings,
    limit,
    naive_of_half,
    ours,
    square_products,
    step,
)
from memory import run_fresh
from side_by_side import side_by_side

from hybrid_fast.cpu import emulates

BUDGET_S = {1024: 3, 4096: 12, 8192: 32}
SMALL_BUDGET_S = 0.5
naive = cross_entropy("mean")
WAYS = {
    "ours": ours,
    "ours, symmetric": partial(ours, symmetric=True),
    "ours, precision bf16": partial(ours, precision="bf16"),
    "reference": partial(ours, backend="reference"),
    "naive": naive,
    "naive, symmetric": cross_entropy("symmetric"),
    "naive, torch.compile": None,
    "cached loss, 32": partial(cached_loss, rows=32),
    "cached loss, 512": partial(cached_loss, rows=512),
}
WAYS_OF_HALF = {
    "ours": ours,
    "naive of mm().float()": naive_of_half,
    "naive of bf16 logits": naive,
}
# Small calls: at most half a millisecond more than naive, from 256 on at most 5 %.
MOST_MORE_S = {64: 5e-4}
GOALS_OF_SMALL = {256: 1 / 1.05}
GOALS = {1024: 1.3, 4096: 1.7, 8192: 1.9}
GOALS_BF16 = {4096: 6, 8192: 7}
GOALS_OF_HALF = {1024: 1, 8192: 1.3}
# Shares of the limit that large products leave room for.
GOALS_OF_LIMIT = {4096: 0.9, 8192: 0.9}
GOALS_OF_LIMIT_BF16 = {4096: 0.8, 8192: 0.8}
SIZES = [(size, 384) for size in GOALS] + [
    pytest.param(size, dim, marks=pytest.mark.full) for dim in (768, 1024) for size in GOALS
]


def relative_errors(way, queries, passages, truths):
    """Of the loss and both gradients."""
    values = step(way, queries, passages)
    return [
        float((value.double() - truth).norm() / truth.norm())
        for value, truth in zip(values, truths, strict=True)
    ]


@cache
def exact(size, dim, dtype, kind="mean"):
    """Embeddings, and loss and gradients in float64 of the same rounded ones."""
    rounded = embeddings(size, dim, dtype)
    doubled = [tensor.detach().double().requires_grad_() for tensor in rounded]
    return rounded, step(cross_entropy(kind), *doubled)


def check(name, way, size, dim, dtype, tolerance):
    """The gate: loss and gradients near those of float64."""
    rounded, truths = exact(
        min(size, 1024), dim, dtype, "symmetric" if "symmetric" in name else "mean"
    )
    assert max(relative_errors(way, *rounded, truths)) <= tolerance, name


def goals(by_baseline, size):
    """Of each baseline, where there is one for the size."""
    return {name: sizes[size] for name, sizes in by_baseline.items() if size in sizes}


@pytest.mark.usefixtures("kept_memory")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize(("size", "dim"), SIZES)
def test_float32(benchmark, headline, size, dim):
    ways = {name: way or torch.compile(naive) for name, way in WAYS.items()}
    for name, way in ways.items():
        check(name, way, size, dim, torch.float32, 5e-3 if "bf16" in name else 1e-5)
    tensors = embeddings(size, dim)
    steps = {name: partial(step, way, *tensors) for name, way in ways.items()}
    squares = square_products() | {"bf16": square_products(torch.bfloat16)["torch.mm"]}
    found = side_by_side(benchmark, steps | squares, BUDGET_S[size], fewest=2)
    best = min(found[name] for name in square_products())
    case = f"float32 {size:,} x {dim}"
    others = {name: found[name] for name in WAYS if "ours" not in name and "symm" not in name}
    headline(
        "loss", case, "s", found["ours"], others | {"limit": limit(size, dim, best)},
        goals({"naive": GOALS, "limit": GOALS_OF_LIMIT}, size),
    )  # fmt: skip
    headline(
        "loss", f"{case}, symmetric", "s", found["ours, symmetric"],
        {"naive, symmetric": found["naive, symmetric"]},
    )  # fmt: skip
    headline(
        "loss", f'{case}, precision="bf16"', "s", found["ours, precision bf16"],
        {"naive": found["naive"], "limit": limit(size, dim, found["bf16"])},
        goals({"naive": GOALS_BF16, "limit": GOALS_OF_LIMIT_BF16}, size),
    )  # fmt: skip


@pytest.mark.usefixtures("kept_memory")
@pytest.mark.parametrize("dim", [32, 384])
@pytest.mark.parametrize("size", [64, 256])
def test_small_calls(benchmark, headline, size, dim):
    """Most of the time of which is Python's."""
    ways = {name: WAYS[name] for name in WAYS if "cached" not in name and "compile" not in name}
    for name, way in ways.items():
        check(name, way, size, dim, torch.float32, 5e-3 if "bf16" in name else 1e-5)
    tensors = embeddings(size, dim)
    steps = {name: partial(step, way, *tensors) for name, way in ways.items()}
    found = side_by_side(benchmark, steps, SMALL_BUDGET_S, most=500)
    baselines = {"": ("naive", "reference"), ", symmetric": ("naive, symmetric",)}
    baselines[", precision bf16"] = baselines[""]
    for option, names in baselines.items():
        bound = found[names[0]] + MOST_MORE_S[size] if size in MOST_MORE_S else None
        headline(
            "loss", f"float32 {size} x {dim}{option}", "s", found[f"ours{option}"],
            {name: found[name] for name in names},
            goals({names[0]: GOALS_OF_SMALL}, size), bound,
        )  # fmt: skip


@pytest.mark.usefixtures("kept_memory")
@pytest.mark.parametrize("size", GOALS)
def test_bfloat16(benchmark, headline, size):
    if emulates(torch.bfloat16) and size > 1024:
        pytest.skip("this processor emulates bfloat16, so that a round takes minutes")
    for name, way in WAYS_OF_HALF.items():
        check(name, way, size, 384, torch.bfloat16, 5e-2)
    tensors = embeddings(size, 384, torch.bfloat16)
    steps = {name: partial(step, way, *tensors) for name, way in WAYS_OF_HALF.items()}
    square = {"bf16": square_products(torch.bfloat16)["torch.mm"]}
    found = side_by_side(benchmark, steps | square, BUDGET_S[size] / 4)
    headline(
        "loss", f"bfloat16 {size:,} x 384", "s", found["ours"],
        {name: found[name] for name in WAYS_OF_HALF if name != "ours"}
        | {"limit": limit(size, 384, found["bf16"])},
        goals({"naive of mm().float()": GOALS_OF_HALF, "limit": GOALS_OF_LIMIT_BF16}, size),
    )  # fmt: skip


def test_gradient_error(benchmark, headline):
    """Of the gradients at 4,096 x 384, of bfloat16 embeddings and of rounded ones."""
    size = 1024 if emulates(torch.bfloat16) else 4096

    def errors(ways, dtype):
        rounded, truths = exact(size, 384, dtype)
        return {name: max(relative_errors(way, *rounded, truths)[1:]) for name, way in ways.items()}

    of_half = benchmark.pedantic(errors, (WAYS_OF_HALF, torch.bfloat16), rounds=1)
    rounding = errors({"": WAYS["ours, precision bf16"]}, torch.float32)
    own = of_half.pop("ours")
    most = {"naive of mm().float()": 1}
    headline("loss", f"gradient error, bfloat16 {size:,} x 384", "", own, of_half, most)
    case = f'gradient error, precision="bf16", {size:,} x 384'
    headline("loss", case, "", rounding[""], bound=3.5e-3)


MEMORY = """
import test_loss_speed
from loss_ways import embeddings, step
from memory import PeakMemory
tensors = embeddings(size, 384)
step(test_loss_speed.WAYS[name], *embeddings(256, 384))
with PeakMemory() as memory:
    step(test_loss_speed.WAYS[name], *tensors)
print(memory.extra_mib)
"""


def test_peak_memory(benchmark, headline):
    """Above that of the embeddings; the gradients are part of it."""
    size = 8192
    names = ("ours, precision bf16", "naive", "cached loss, 32")
    found = {name: run_fresh(MEMORY, name=name, size=size) for name in names}
    own = benchmark.pedantic(run_fresh, (MEMORY,), {"name": "ours", "size": size}, rounds=1)
    others = {name: found[name] for name in names[1:]}
    headline("memory", f"loss, float32 {size:,} x 384", "MiB", own, others, {"naive": 20})
    headline("memory", 'the same, precision="bf16"', "MiB", found[names[0]], others)
    benchmark.extra_info["extra_mib"] = {"ours": own} | found
