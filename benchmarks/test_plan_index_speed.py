"""Building, saving and opening the index: ten million items from integers and strings, rows in
random order, on all cores; a hundred million opened. Memory is what a call adds to that of the
columns its caller holds.

Baselines: `PlanModel`, which lists the same in plain Python, at a million items; at ten million the
sort of the columns alone, by NumPy, of strings after pyarrow has numbered them.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from memory import PeakMemory
from plan_model import PlanModel
from side_by_side import seconds_of, side_by_side

from hybrid_fast.data import HybridBatchSampler, PlanIndex

NUM_LANGUAGES = 11
NUM_GROUPS = 1_650_000
ROUNDS_S = 12
NUM_OPENED = 10_000_000  # --full: ten times as many


def random_columns(num_groups):
    """Integer columns of 55 % of all items in random order."""
    rng = np.random.default_rng(0)
    groups, languages = np.nonzero(rng.random((num_groups, NUM_LANGUAGES)) < 0.55)
    order = rng.permutation(len(groups))
    return groups[order], languages[order]


@pytest.fixture(scope="module")
def table():
    return random_columns(NUM_GROUPS)


def names(codes):
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), [f"l{code:02d}" for code in range(NUM_LANGUAGES)]
    )


def joined(*parts):
    """Strings of fixed words and of numbers, one of each row."""
    texts = [
        pa.scalar(part) if isinstance(part, str) else pc.cast(part, "string") for part in parts
    ]
    return pc.binary_join_element_wise(*texts, " ")


def sort_alone(groups, languages):
    """What any index begins with."""
    if not isinstance(groups, np.ndarray):
        groups, languages = (
            column.dictionary_encode().indices.to_numpy() for column in (groups, languages)
        )
    return np.lexsort((languages, groups))


def measure(benchmark, headline, case, build, sort, limit_s):
    pa.default_memory_pool().release_unused()
    with PeakMemory() as memory:
        index = build()
    num_items = len(sort())
    sampler = HybridBatchSampler(index, batch_size=1024)
    assert len(np.unique(sampler.batch(0).query_rows)) == 1024
    seconds = side_by_side(benchmark, {"ours": build, "the sort alone": sort}, ROUNDS_S, fewest=2)
    kept, peak = (size / num_items for size in (index.num_bytes, memory.extra_bytes))
    benchmark.extra_info["items"] = num_items
    headline("index", case, "s", seconds.pop("ours"), seconds, bound=limit_s)
    headline("index", f"{case}: kept", "bytes an item", kept, bound=24)
    headline("index", f"{case}: peak", "bytes an item", peak, bound=80)


def test_from_integers(benchmark, headline, table):
    groups, codes = table
    languages = names(codes)
    passages = np.arange(len(groups))[::-1].copy()
    build = partial(PlanIndex.from_arrays, groups, languages, passages)
    sort = partial(sort_alone, groups, codes)
    measure(benchmark, headline, "10M items from integers", build, sort, limit_s=3)


def test_from_strings(benchmark, headline, table):
    groups, codes = table
    languages = names(codes).cast(pa.string())
    group_ids = joined("question number", groups)
    passages = joined("the passage of group", groups, "in language", codes)
    build = partial(PlanIndex.from_arrays, group_ids, languages, passages)
    sort = partial(sort_alone, group_ids, languages)
    measure(benchmark, headline, "10M items from strings", build, sort, limit_s=15)


def test_against_plain_python(benchmark, headline):
    """From integer ids and text languages; `PlanModel` also weighs the languages."""
    groups, codes = random_columns(NUM_GROUPS // 10)
    languages = np.array([f"l{code:02d}" for code in range(NUM_LANGUAGES)])[codes]
    plain_s = seconds_of(partial(PlanModel, groups, languages, batch_size=1024))
    build = partial(PlanIndex.from_arrays, groups, languages)
    benchmark.pedantic(build, rounds=5, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    headline("index", "1M items from integers", "s", seconds, {"lists in plain Python": plain_s})


@pytest.mark.full
def test_of_200_languages_arbitrary_presence(benchmark, headline):
    rng = np.random.default_rng(0)
    parts = [np.nonzero(rng.random((50_000, 200)) < 0.05) for _ in range(20)]
    groups = np.concatenate([rows + 50_000 * i for i, (rows, _) in enumerate(parts)])
    codes = np.concatenate([languages for _, languages in parts]).astype(np.int32)
    languages = pa.DictionaryArray.from_arrays(codes, [f"l{code:03d}" for code in range(200)])
    build = partial(PlanIndex.from_arrays, groups, languages)
    sort = partial(sort_alone, groups, codes)
    measure(benchmark, headline, "10M items, 200 languages", build, sort, limit_s=3)


def test_opening(benchmark, headline, full, tmp_path):
    num_groups = NUM_OPENED // 10 * (10 if full else 1)
    groups = np.repeat(np.arange(num_groups), 10)
    codes = np.tile(np.arange(10, dtype=np.int32), num_groups)
    languages = pa.DictionaryArray.from_arrays(codes, [f"l{code}" for code in range(10)])
    index = PlanIndex.from_arrays(groups, languages)
    index.save(tmp_path / "plan.index")
    expected = HybridBatchSampler(index, batch_size=1024).batch(10**9).query_rows

    def first_batch():
        opened = PlanIndex.open(tmp_path / "plan.index")
        return HybridBatchSampler(opened, batch_size=1024).batch(10**9).query_rows

    assert np.array_equal(benchmark.pedantic(first_batch, rounds=5), expected)
    benchmark.extra_info["file_mib"] = round((tmp_path / "plan.index").stat().st_size / 2**20, 1)
    built_s = seconds_of(partial(PlanIndex.from_arrays, groups, languages))
    headline(
        "index", f"{len(groups) // 10**6}M items, saved: opened, first batch", "s",
        benchmark.stats.stats.median, {"built anew": built_s}, bound=1,
        reduced="" if full else "a saved index of 10M items is opened, not of 100M",
    )  # fmt: skip
