"""Examples a second that the batch plan yields, on one core, against plans in plain Python.

Each round draws fresh batches from steps far apart, so that nothing is warm. Baselines, on the same
tables: `PlanModel`, the plan with the same guarantees in plain Python; sentence-transformers'
NoDuplicatesBatchSampler, plain and hashed, which compares strings; torch's BatchSampler over a
RandomSampler, which knows no groups at all, as a floor. For ten million items the first two need
minutes and gigabytes, so they are run up to a million.
"""

from __future__ import annotations

import itertools
import random
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from datasets import Dataset
from plan_model import PlanModel
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from side_by_side import side_by_side
from torch.utils.data import BatchSampler, DataLoader, RandomSampler
from torch.utils.data import Dataset as TorchDataset

from hybrid_fast.data import HybridBatchSampler, PlanIndex

STEPS = 500  # in a round, whose first ones find the caches full of something else
MOST_ITEMS = 2_000_000  # for plans in Python
ROUNDS_S = 3  # of one case
FAR_APART = 1_000_003
# Number of groups, languages, share of them that are present, batch size, millions of examples a
# second asked of the hybrid plan. There are 10 languages where nothing else is said.
TABLES = {
    "1M items, complete": (100_000, 10, 1.0, 1024, 30),
    "1M items, half present": (200_000, 10, 0.5, 1024, 30),
    "0.5M items, half present": (100_000, 10, 0.5, 8192, 20),
    "10M items, 11 languages": (1_650_000, 11, 0.55, 1024, 20),
    "10M items, 200 languages": (1_000_000, 200, 0.05, 1024, 2),
}
TIMES_PLAIN_PYTHON = 30


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


class Table(NamedTuple):
    name: str
    groups: np.ndarray
    languages: np.ndarray
    index: PlanIndex
    batch_size: int
    asked: float


@pytest.fixture(params=TABLES, scope="module")
def table(request):
    *shape, batch_size, asked = TABLES[request.param]
    groups, languages = columns(*shape)
    index = PlanIndex.from_arrays(groups, languages)
    return Table(request.param, groups, languages, index, batch_size, asked)


def check(sampler, groups: np.ndarray, steps=20) -> None:
    """The gate: no group twice in a batch, and query and passage of one group."""
    for step in range(steps):
        batch = sampler.batch(step)
        assert len(np.unique(groups[batch.query_rows])) == sampler.batch_size
        assert (groups[batch.query_rows] == groups[batch.passage_rows]).all()


def draw_ours(sampler):
    """Return what draws `STEPS` fresh batches."""
    rounds = itertools.count()

    def draw() -> None:
        first = next(rounds) * FAR_APART
        for step in range(first, first + STEPS):
            sampler.batch(step)

    return draw


def draw_plain_python(table):
    model = PlanModel(table.groups, table.languages, batch_size=table.batch_size)
    check(model, table.groups, steps=4)
    steps = itertools.count(4)
    return lambda: model.batch(next(steps))


def draw_sentence_transformers(table, hashed):
    items = list(zip(table.groups.tolist(), table.languages.tolist(), strict=True))
    dataset = Dataset.from_dict(
        {
            "anchor": [f"query {group} {language}" for group, language in items],
            "positive": [f"passage {group} {language}" for group, language in items],
        }
    )
    sampler = NoDuplicatesBatchSampler(
        dataset, table.batch_size, drop_last=True, precompute_hashes=hashed, precompute_num_proc=1
    )
    batches = iter(sampler)
    assert len(set(next(batches))) == table.batch_size  # the hashes are made here
    return lambda: next(batches)


def draw_torch(table):
    sampler = RandomSampler(range(len(table.groups)), num_samples=table.batch_size * STEPS)

    def draw() -> None:
        for _ in BatchSampler(sampler, table.batch_size, drop_last=True):
            pass

    return draw


def draw_through_a_data_loader(table, sampler):
    class Rows(TorchDataset):
        def __getitems__(self, batch):
            return batch

    loader = DataLoader(Rows(), batch_sampler=sampler, collate_fn=lambda batch: batch)
    first = next(iter(loader))
    assert (table.groups[first.query_rows] == table.groups[first.passage_rows]).all()

    def draw() -> None:
        epochs = itertools.chain.from_iterable(itertools.repeat(loader))
        for _ in itertools.islice(epochs, STEPS):
            pass

    return draw


def test_examples_per_second(benchmark, headline, table):
    samplers = {
        kind: HybridBatchSampler(table.index, batch_size=table.batch_size, kind=kind)
        for kind in ("hybrid", "mono", "cross")
    }
    for sampler in samplers.values():
        check(sampler, table.groups)
    many = {kind: draw_ours(sampler) for kind, sampler in samplers.items()}
    many["through a DataLoader"] = draw_through_a_data_loader(table, samplers["hybrid"])
    many["torch BatchSampler"] = draw_torch(table)
    one = {}
    if len(table.groups) < MOST_ITEMS:
        one = {
            "the plan in plain Python": draw_plain_python(table),
            "sentence-transformers": draw_sentence_transformers(table, hashed=False),
            "sentence-transformers, hashed": draw_sentence_transformers(table, hashed=True),
        }
    seconds = side_by_side(benchmark, many | one, ROUNDS_S)
    rates = {name: table.batch_size * STEPS / seconds[name] / 1e6 for name in many}
    rates |= {name: table.batch_size / seconds[name] / 1e6 for name in one}
    benchmark.extra_info["million_examples_per_second"] = rates
    others = {name: rate for name, rate in rates.items() if name in [*one, list(many)[-1]]}
    report = partial(headline, "plan", unit="M/s")
    case = f"{table.name}, batch {table.batch_size:,}"
    goals = {name: TIMES_PLAIN_PYTHON for name in others if "Python" in name}
    report(case, ours=rates["hybrid"], baselines=others, goals=goals, bound=table.asked)
    for kind in ("mono", "cross"):
        report(f"  {kind}", ours=rates[kind])
    loader = "through a DataLoader"
    report(f"  {loader}", ours=rates[loader], bound=5 if "200" not in table.name else None)


def test_random_step_of_a_random_epoch(benchmark, headline, table):
    sampler = HybridBatchSampler(table.index, batch_size=table.batch_size)
    draw = random.Random(0)
    benchmark.pedantic(
        sampler.batch, setup=lambda: ((draw.randrange(10**10),), {}), rounds=300, warmup_rounds=5
    )
    worst = benchmark.stats.stats.max
    headline("plan", f"{table.name}, slowest of 300 steps", "s", worst, bound=0.05)
