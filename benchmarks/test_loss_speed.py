"""Time and memory of the loss, forward and backward, on the CPU.

Baselines in the same run: `reference`, the definition in plain torch; `naive`, F.cross_entropy as a
user writes it, and the same under torch.compile; the rows of sentence-transformers' cached loss
(its loss stage alone, with its default of 32 rows at a time and with 512). For bfloat16 the
baseline is `mm().float()`. Before anything is timed, loss and gradients are compared with float64.
Peak memory is measured in fresh processes, each of which runs one of them.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from hybrid_fast.ops import info_nce

TEMPERATURE = 0.05
SIZES = [1024, 4096, 8192]
DIMS = [384, 768, 1024]


def embeddings(size: int, dim: int, dtype=torch.float32):
    """Unit vectors of a loss as in the middle of a training."""
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(size, dim, generator=generator), dim=1)
    noise = torch.randn(size, dim, generator=generator)
    passages = F.normalize(noise / dim**0.5 + 0.5 * queries, dim=1)
    return queries.to(dtype).requires_grad_(), passages.to(dtype).requires_grad_()


def naive(queries, passages):
    labels = torch.arange(len(queries), device=queries.device)
    return F.cross_entropy(queries @ passages.T / TEMPERATURE, labels)


def naive_of_half(queries, passages):
    scores = (queries @ passages.T).float()
    return F.cross_entropy(scores / TEMPERATURE, torch.arange(len(queries)))


def cached_rows(queries, passages, rows):
    """The loss stage of CachedMultipleNegativesRankingLoss: rows at a time, backward at once."""
    total = 0.0
    for first in range(0, len(queries), rows):
        part = queries[first : first + rows]
        labels = torch.arange(first, first + len(part), device=queries.device)
        loss = F.cross_entropy(part @ passages.T / TEMPERATURE, labels) * len(part) / len(queries)
        loss.backward()
        total += loss.detach()
    return total


def step(loss, queries, passages):
    """Return the loss and both gradients."""
    queries.grad = passages.grad = None
    value = loss(queries, passages)
    if value.requires_grad:
        value.backward()
    return value.detach(), queries.grad, passages.grad


def ours(queries, passages, **options):
    return info_nce(queries, passages, temperature=TEMPERATURE, **options)


WAYS = {
    "ours": ours,
    "ours, symmetric": partial(ours, symmetric=True),
    "ours, precision bf16": partial(ours, precision="bf16"),
    "reference": partial(ours, backend="reference"),
    "naive": naive,
    "naive, torch.compile": None,
    "cached rows, 32": partial(cached_rows, rows=32),
    "cached rows, 512": partial(cached_rows, rows=512),
}


def check(way, size, dim, dtype, tolerance):
    """The gate: gradients near those of float64."""
    few = min(size, 1024)
    queries, passages = embeddings(few, dim, dtype)
    exact = [tensor.detach().double().requires_grad_() for tensor in (queries, passages)]
    for value, truth in zip(step(way, queries, passages), step(naive, *exact), strict=True):
        assert (value.double() - truth).norm() <= tolerance * truth.norm()


def time_step(benchmark, way, size, dim, dtype=torch.float32):
    queries, passages = embeddings(size, dim, dtype)
    benchmark.group = f"{str(dtype).removeprefix('torch.')} {size} x {dim}"
    rounds = 20 if size == 1024 else 5
    benchmark.pedantic(step, (way, queries, passages), rounds=rounds, warmup_rounds=1)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile's own
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("size", SIZES)
def test_float32(benchmark, name, size, dim):
    if dim != 384 and "rows" in name:
        pytest.skip("measured at 384 dimensions")
    way = WAYS[name] or torch.compile(naive)
    if "symmetric" not in name:
        check(way, size, dim, torch.float32, 5e-3 if "bf16" in name else 1e-5)
    time_step(benchmark, way, size, dim)


@pytest.mark.parametrize("name", ["ours", "naive of mm().float()", "naive of bf16 logits"])
@pytest.mark.parametrize("size", SIZES)
def test_bfloat16(benchmark, name, size):
    way = {"ours": ours, "naive of mm().float()": naive_of_half}.get(name, naive)
    check(way, size, 384, torch.bfloat16, 5e-2)
    time_step(benchmark, way, size, 384, torch.bfloat16)
    benchmark.extra_info["gradient_error"] = gradient_error(way)


def gradient_error(way) -> float:
    """Relative error of the gradients against float64 on the same rounded inputs, at 4,096."""
    queries, passages = embeddings(4096, 384, torch.bfloat16)
    exact = [tensor.detach().double().requires_grad_() for tensor in (queries, passages)]
    _, *values = step(way, queries, passages)
    _, *truths = step(naive, *exact)
    errors = [(v.double() - t).norm() / t.norm() for v, t in zip(values, truths, strict=True)]
    return float(max(errors))


MEMORY = """
import sys
sys.path.insert(0, {folder!r})
from test_loss_speed import WAYS, embeddings, step
from memory import PeakMemory
queries, passages = embeddings({size}, 384)
step(WAYS[{name!r}], *embeddings(256, 384))
with PeakMemory() as memory:
    step(WAYS[{name!r}], queries, passages)
print(memory.extra_mib)
"""


@pytest.mark.parametrize("name", ["ours", "ours, precision bf16", "naive", "cached rows, 32"])
def test_peak_memory(benchmark, name):
    """Above that of the embeddings; the gradients are part of it."""
    folder = __file__.rsplit("/", 1)[0]
    script = MEMORY.format(folder=folder, size=8192, name=name)

    def measure() -> float:
        run = subprocess.run(
            [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
        )
        return float(run.stdout)

    benchmark.group = "peak memory, 8192 x 384 (the time is that of a process)"
    benchmark.extra_info["extra_mib"] = benchmark.pedantic(measure, rounds=1)
