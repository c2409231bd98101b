"""Building, saving and opening the index: ten million items from integers and strings, rows in
random order, on all cores; a hundred million opened. Memory is what a call adds to that of the
columns its caller holds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from memory import PeakMemory

from hybrid_fast.data import HybridBatchSampler, PlanIndex

NUM_LANGUAGES = 11
NUM_GROUPS = 1_650_000
GROUP = "index of 10M items"


@pytest.fixture(scope="module")
def table():
    """Integer columns in random order."""
    rng = np.random.default_rng(0)
    groups, languages = np.nonzero(rng.random((NUM_GROUPS, NUM_LANGUAGES)) < 0.55)
    order = rng.permutation(len(groups))
    return groups[order], languages[order]


def names(codes):
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), [f"l{code:02d}" for code in range(NUM_LANGUAGES)]
    )


def measure(benchmark, num_items, build):
    benchmark.group = GROUP
    pa.default_memory_pool().release_unused()
    with PeakMemory() as memory:
        index = build()
    sampler = HybridBatchSampler(index, batch_size=1024)
    assert len(np.unique(sampler.batch(0).query_rows)) == 1024
    benchmark.pedantic(build, rounds=3)
    benchmark.extra_info |= {
        "items": num_items,
        "bytes_kept_an_item": round(index.num_bytes / num_items, 1),
        "peak_bytes_an_item": round(memory.extra_bytes / num_items, 1),
    }


def test_from_integers(benchmark, table):
    groups, languages = table
    languages = names(languages)
    passages = np.arange(len(groups))[::-1].copy()
    measure(
        benchmark,
        len(groups),
        lambda: PlanIndex.from_arrays(groups, languages, passages),
    )


def test_from_strings(benchmark, table):
    groups, languages = table
    group_ids = pa.array([f"question number {group}" for group in groups.tolist()])
    passages = pa.array(
        [
            f"the passage of group {g} in language {x}"
            for g, x in zip(*map(list, table), strict=True)
        ]
    )
    languages = names(languages).cast(pa.string())
    measure(
        benchmark,
        len(groups),
        lambda: PlanIndex.from_arrays(group_ids, languages, passages),
    )


def test_of_200_languages_arbitrary_presence(benchmark):
    rng = np.random.default_rng(0)
    parts = [np.nonzero(rng.random((50_000, 200)) < 0.05) for _ in range(20)]
    groups = np.concatenate([rows + 50_000 * i for i, (rows, _) in enumerate(parts)])
    codes = np.concatenate([languages for _, languages in parts]).astype(np.int32)
    languages = pa.DictionaryArray.from_arrays(codes, [f"l{code:03d}" for code in range(200)])
    measure(benchmark, len(groups), lambda: PlanIndex.from_arrays(groups, languages))


def test_opening_a_hundred_million(benchmark, tmp_path):
    benchmark.group = "a saved index of 100M items"
    groups = np.repeat(np.arange(10_000_000), 10)
    codes = np.tile(np.arange(10, dtype=np.int32), 10_000_000)
    languages = pa.DictionaryArray.from_arrays(codes, [f"l{code}" for code in range(10)])
    index = PlanIndex.from_arrays(groups, languages)
    index.save(tmp_path / "plan.index")
    expected = HybridBatchSampler(index, batch_size=1024).batch(10**9).query_rows

    def first_batch():
        opened = PlanIndex.open(tmp_path / "plan.index")
        return HybridBatchSampler(opened, batch_size=1024).batch(10**9).query_rows

    assert np.array_equal(benchmark.pedantic(first_batch, rounds=5), expected)
    benchmark.extra_info["file_mib"] = round((tmp_path / "plan.index").stat().st_size / 2**20, 1)
