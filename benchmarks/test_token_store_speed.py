"""The token store: opening one of many texts, and planning, gathering and padding batches.

Beside it, what is done without: the tokenizer of the same encoder on the texts of each batch, 32 at
a time.
"""

from __future__ import annotations

import pickle
from functools import partial
from itertools import count

import numpy as np
import pytest
from memory import run_fresh
from side_by_side import seconds_of, side_by_side
from training_corpus import draw_texts, make_table, save_encoder

from hybrid_fast.data import HybridBatchSampler, open_token_store
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.micro_batches import cut_by_length
from hybrid_fast.training.steps import StepDataset

NUM_PAIRS = 50_000  # --full: ten times as many, so a million texts
BATCH_SIZE = 8192
BUDGET = 2048
ROUNDS_S = 6
SIDES = ("query", "passage")
OPEN = """
import pickle, time
from hybrid_fast.data import TokenStore
from memory import resident_bytes
content = open(file, "rb").read()
before, start = resident_bytes(), time.perf_counter()
stores = pickle.loads(content)
seconds = time.perf_counter() - start
print([seconds, (resident_bytes() - before) / 2**20, sum(len(store.tokens) for store in stores)])
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = save_encoder(tmp_path_factory.mktemp("encoder"), layers=1, width=32, vocab_size=20_004)
    return BiEncoder.from_pretrained(folder, query_prompt="", passage_prompt="")


@pytest.fixture(scope="module")
def table(full):
    num_pairs = NUM_PAIRS * (10 if full else 1)
    return make_table(
        draw_texts(num_pairs, 15, 60, 0, sigma=0.5), draw_texts(num_pairs, 40, 200, 1, sigma=0.5)
    )


@pytest.fixture(scope="module")
def build(encoder, table):
    """A function that opens the stores of both sides in a folder, built before where missing."""

    def open_in(folder):
        return [
            open_token_store(
                table, side, partial(encoder.token_ids, side=side), encoder.tokenizer_key(side),
                folder,
            )
            for side in SIDES
        ]  # fmt: skip

    return open_in


@pytest.fixture(scope="module")
def stores(build, tmp_path_factory):
    return build(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def dataset(table, stores):
    sampler = HybridBatchSampler(table, batch_size=BATCH_SIZE, kind="mono")
    return StepDataset(sampler, *stores, "passage", repeats_once=True)


def test_open(benchmark, headline, full, build, stores, tmp_path):
    """In a fresh process; checksums of all files are verified."""
    built_s = seconds_of(partial(build, tmp_path))
    file = tmp_path / "stores.pickle"
    file.write_bytes(pickle.dumps(stores))
    found = []
    benchmark.pedantic(lambda: found.append(run_fresh(OPEN, file=str(file))), rounds=3)
    seconds, mib, num_texts = np.median(found, axis=0)
    reduced = "" if full else "a store of 100,000 texts, not of a million"
    headline(
        "token store", f"opened, {num_texts:,.0f} texts", "s", seconds, {"built anew": built_s},
        bound=1, reduced=reduced,
    )  # fmt: skip
    headline("token store", "memory when opened", "MiB", mib, bound=50)


def padded_batch(dataset, encoder, step):
    """Plan, gather and pad one batch; return its features."""
    batch = dataset[step]
    return batch, [
        (rows, encoder.backbone.features(batch.ids, batch.offsets, rows, length))
        for rows, length in cut_by_length(batch.lengths, BUDGET)
    ]


def check_features(dataset, encoder, table):
    """The gate: the tokens of some texts are those of the tokenizer, and padding follows."""
    batch, features = padded_batch(dataset, encoder, 0)
    plan = dataset.sampler.batch(0)
    texts = table.queries(plan.query_rows), table.passages(plan.passage_rows)
    expected = [
        encoder.token_ids([text], side)[0].tolist()
        for side, column in zip(SIDES, texts, strict=True)
        for text in column[:50]
    ]
    found = {}
    for rows, part in features:
        for row, ids in zip(rows, part["input_ids"].tolist(), strict=True):
            found[row] = ids
    places = [*batch.queries[:50].tolist(), *batch.passages[:50].tolist()]
    for place, ids in zip(places, expected, strict=True):
        assert found[place][: len(ids)] == ids
        assert set(found[place][len(ids) :]) <= {1}


def test_plan_gather_and_pad(benchmark, headline, dataset, encoder, table):
    check_features(dataset, encoder, table)
    steps = count(1)

    def tokenize():
        plan = dataset.sampler.batch(next(steps))
        texts = table.queries(plan.query_rows), table.passages(plan.passage_rows)
        return [
            encoder.tokenize(column[first : first + 32], side)
            for side, column in zip(SIDES, texts, strict=True)
            for first in range(0, BATCH_SIZE, 32)
        ]

    assert len(tokenize()) == 2 * BATCH_SIZE // 32
    ways = {
        "ours": lambda: padded_batch(dataset, encoder, next(steps)),
        "tokenizer in every step": tokenize,
    }
    found = side_by_side(benchmark, ways, ROUNDS_S)
    rates = {name: 2 * BATCH_SIZE / seconds / 1e6 for name, seconds in found.items()}
    own = rates.pop("ours")
    headline("token store", "plan, gather and pad", "M rows/s", own, rates, bound=2)
