"""Examples a second that the batch plan yields, on one core, against plans in plain Python.

Each round draws fresh batches of 1,024 (8,192) from steps far apart, so that nothing is warm. The
baselines: `random_batches`, uniform draws in plain Python that keep no guarantee but the first (no
group twice); torch's BatchSampler over a RandomSampler, which knows no groups at all, as a floor.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from torch.utils.data import BatchSampler, RandomSampler

from hybrid_fast.data import HybridBatchSampler

STEPS = 100
TABLES = {  # number of groups, languages, share of groups that have a language, batch size
    "1M items, 10 languages, complete": (100_000, 10, 1.0, 1024),
    "1M items, 10 languages, half present": (200_000, 10, 0.5, 1024),
    "0.5M items, 10 languages, half present": (100_000, 10, 0.5, 8192),
}


def columns(num_groups: int, num_languages: int, density: float):
    present = np.random.default_rng(0).random((num_groups, num_languages)) < density
    groups, languages = np.nonzero(present)
    return groups, np.char.add("l", languages.astype(str))


@pytest.fixture(params=TABLES, scope="module")
def case(request):
    num_groups, num_languages, density, batch_size = TABLES[request.param]
    return request.param, *columns(num_groups, num_languages, density), batch_size


def check(sampler: HybridBatchSampler, groups: np.ndarray) -> None:
    for step in range(20):
        batch = sampler.batch(step)
        assert len(np.unique(groups[batch.query_rows])) == sampler.batch_size
        assert (groups[batch.query_rows] == groups[batch.passage_rows]).all()


@pytest.mark.parametrize("kind", ["mono", "cross", "hybrid"])
def test_hybrid_fast(benchmark, case, kind):
    name, groups, languages, batch_size = case
    benchmark.group = name
    sampler = HybridBatchSampler.from_arrays(groups, languages, batch_size=batch_size, kind=kind)
    check(sampler, groups)
    rounds = iter(range(10**9))

    def draw() -> None:
        first = next(rounds) * 1_000_003
        for step in range(first, first + STEPS):
            sampler.batch(step)

    benchmark.pedantic(draw, rounds=20, warmup_rounds=2)
    report(benchmark, batch_size)


def test_plain_python_cross_batches(benchmark, case):
    name, groups, _, batch_size = case
    benchmark.group = name
    rows_of: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        rows_of.setdefault(group, []).append(row)
    usable = [rows for rows in rows_of.values() if len(rows) > 1]
    draw = random.Random(0)

    def batches() -> None:
        for _ in range(STEPS):
            [draw.sample(rows, 2) for rows in draw.sample(usable, batch_size)]

    benchmark.pedantic(batches, rounds=3, warmup_rounds=1)
    report(benchmark, batch_size)


def test_torch_batch_sampler(benchmark, case):
    name, groups, _, batch_size = case
    benchmark.group = name
    sampler = RandomSampler(range(len(groups)), num_samples=batch_size * STEPS)

    def epoch() -> None:
        for _ in BatchSampler(sampler, batch_size, drop_last=True):
            pass

    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    report(benchmark, batch_size)


def report(benchmark, batch_size: int) -> None:
    benchmark.extra_info["million_examples_per_second"] = round(
        STEPS * batch_size / benchmark.stats.stats.median / 1e6, 3
    )
