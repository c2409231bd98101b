"""Examples a second that the batch plan yields, on one core, against plans in plain Python.

Each round draws fresh batches from steps far apart, so that nothing is warm. Baselines, on the same
tables in the same run: `PlanModel`, the plan with the same guarantees in plain Python;
sentence-transformers' NoDuplicatesBatchSampler, plain and hashed, which compares strings; torch's
BatchSampler over a RandomSampler, which knows no groups at all, as a floor.
"""

from __future__ import annotations

import itertools
import random
import time

import numpy as np
import pytest
from datasets import Dataset
from plan_model import PlanModel
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from torch.utils.data import BatchSampler, DataLoader, RandomSampler
from torch.utils.data import Dataset as TorchDataset

from hybrid_fast.data import HybridBatchSampler, PlanIndex

STEPS = 100
FAR_APART = 1_000_003
TABLES = {  # number of groups, languages, how the presence is drawn, batch size
    "1M items, 10 languages, complete": (100_000, 10, 1.0, 1024),
    "1M items, 10 languages, half present": (200_000, 10, 0.5, 1024),
    "0.5M items, 10 languages, half present": (100_000, 10, 0.5, 8192),
    "10M items, 11 languages": (1_650_000, 11, 0.55, 1024),
    "10M items, 200 languages, arbitrary presence": (1_000_000, 200, 0.05, 1024),
}


def columns(num_groups: int, num_languages: int, density: float):
    """Group ids and languages of a table whose every (group, language) is there by chance."""
    rng = np.random.default_rng(0)
    parts = [
        np.nonzero(rng.random((len(part), num_languages)) < density)
        for part in np.array_split(range(num_groups), max(1, num_groups // 50_000))
    ]
    starts = itertools.accumulate([0, *(num_groups // len(parts) for _ in parts[1:])])
    groups = np.concatenate([rows + start for (rows, _), start in zip(parts, starts, strict=True)])
    names = np.array([f"l{code:03d}" for code in range(num_languages)])
    return groups, names[np.concatenate([languages for _, languages in parts])]


@pytest.fixture(params=TABLES, scope="module")
def case(request):
    num_groups, num_languages, density, batch_size = TABLES[request.param]
    return request.param, *columns(num_groups, num_languages, density), batch_size


@pytest.fixture(scope="module")
def index(case):
    _, groups, languages, _ = case
    return PlanIndex.from_arrays(groups, languages)


def check(sampler, groups: np.ndarray, steps=20) -> None:
    """The gate: no group twice in a batch, and query and passage of one group."""
    for step in range(steps):
        batch = sampler.batch(step)
        assert len(np.unique(groups[batch.query_rows])) == sampler.batch_size
        assert (groups[batch.query_rows] == groups[batch.passage_rows]).all()


@pytest.mark.parametrize("kind", ["mono", "cross", "hybrid"])
def test_hybrid_fast(benchmark, case, index, kind):
    name, groups, _, batch_size = case
    benchmark.group = name
    sampler = HybridBatchSampler(index, batch_size=batch_size, kind=kind)
    check(sampler, groups)
    rounds = iter(range(10**9))

    def draw() -> None:
        first = next(rounds) * FAR_APART
        for step in range(first, first + STEPS):
            sampler.batch(step)

    benchmark.pedantic(draw, rounds=20, warmup_rounds=2)
    report(benchmark, STEPS * batch_size)


def test_random_step_of_a_random_epoch(benchmark, case, index):
    name, _, _, batch_size = case
    benchmark.group = f"{name}: one step"
    sampler = HybridBatchSampler(index, batch_size=batch_size)
    draw = random.Random(0)
    benchmark.pedantic(
        sampler.batch, setup=lambda: ((draw.randrange(10**10),), {}), rounds=300, warmup_rounds=5
    )
    benchmark.extra_info["worst_ms"] = round(benchmark.stats.stats.max * 1e3, 3)


def test_plain_python_with_the_same_guarantees(benchmark, case):
    name, groups, languages, batch_size = case
    if len(groups) > 2_000_000:
        pytest.skip("the plan in plain Python needs minutes and gigabytes for ten million items")
    benchmark.group = name
    model = PlanModel(groups, languages, batch_size=batch_size)
    check(model, groups, steps=4)
    steps = itertools.count(4)
    benchmark.pedantic(lambda: model.batch(next(steps)), rounds=10)
    report(benchmark, batch_size)


@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_sentence_transformers_no_duplicates(benchmark, case, hashed):
    name, groups, languages, batch_size = case
    if len(groups) > 2_000_000:
        pytest.skip("needs minutes for ten million items")
    benchmark.group = name
    dataset = Dataset.from_dict(
        {
            "anchor": [f"query {g} {x}" for g, x in zip(groups, languages, strict=True)],
            "positive": [f"passage {g} {x}" for g, x in zip(groups, languages, strict=True)],
        }
    )
    sampler = NoDuplicatesBatchSampler(
        dataset, batch_size, drop_last=True, precompute_hashes=hashed, precompute_num_proc=1
    )
    batches = iter(sampler)
    assert len(set(next(batches))) == batch_size  # the hashes are made here
    benchmark.pedantic(lambda: next(batches), rounds=10)
    report(benchmark, batch_size)


def test_torch_batch_sampler(benchmark, case):
    name, groups, _, batch_size = case
    benchmark.group = name
    sampler = RandomSampler(range(len(groups)), num_samples=batch_size * STEPS)

    def epoch() -> None:
        for _ in BatchSampler(sampler, batch_size, drop_last=True):
            pass

    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    report(benchmark, STEPS * batch_size)


def test_through_a_data_loader(benchmark, case, index):
    name, groups, _, batch_size = case
    benchmark.group = f"{name}: through a DataLoader"
    sampler = HybridBatchSampler(index, batch_size=batch_size)

    class Rows(TorchDataset):
        def __getitems__(self, batch):
            return batch

    loader = DataLoader(Rows(), batch_sampler=sampler, collate_fn=lambda batch: batch)
    assert (groups[(first := next(iter(loader))).query_rows] == groups[first.passage_rows]).all()

    def draw() -> None:
        for _ in itertools.islice(loader, STEPS):
            pass

    benchmark.pedantic(draw, rounds=10, warmup_rounds=1)
    report(benchmark, STEPS * batch_size)


def report(benchmark, num_examples: int) -> None:
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["million_examples_per_second"] = round(num_examples / seconds / 1e6, 3)
    time.sleep(0.1)  # a burst of one test does not slow the next one down
