"""The token store: opening one of a million texts, and planning, gathering and padding batches.

Beside it, what is done without: the tokenizer of the same encoder on the texts of each batch.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from training_corpus import draw_texts, make_table, save_encoder

from hybrid_fast.data import HybridBatchSampler, open_token_store
from hybrid_fast.models import BiEncoder
from hybrid_fast.training.micro_batches import cut_by_length
from hybrid_fast.training.steps import StepDataset

NUM_PAIRS = 500_000  # so a million texts
BATCH_SIZE = 8192
BUDGET = 2048
SIDES = ("query", "passage")
OPEN = """
import pickle, sys, time
sys.path[:0] = {path!r}
from hybrid_fast.data import TokenStore
from memory import resident_bytes
content = open({file!r}, "rb").read()
before, start = resident_bytes(), time.perf_counter()
stores = pickle.loads(content)
seconds = time.perf_counter() - start
print(seconds, (resident_bytes() - before) / 2**20, sum(len(store.tokens) for store in stores))
"""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = save_encoder(tmp_path_factory.mktemp("encoder"), layers=1, width=32, vocab_size=20_004)
    return BiEncoder.from_pretrained(folder, query_prompt="", passage_prompt="")


@pytest.fixture(scope="module")
def table():
    return make_table(
        draw_texts(NUM_PAIRS, 15, 60, 0, sigma=0.5), draw_texts(NUM_PAIRS, 40, 200, 1, sigma=0.5)
    )


@pytest.fixture(scope="module")
def stores(encoder, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return [
        open_token_store(
            table, side, partial(encoder.token_ids, side=side), encoder.tokenizer_key(side),
            encoder.backbone.vocab_size, folder,
        )
        for side in SIDES
    ]  # fmt: skip


@pytest.fixture(scope="module")
def dataset(table, stores):
    sampler = HybridBatchSampler(table, batch_size=BATCH_SIZE, kind="mono")
    return StepDataset(sampler, *stores, "passage", repeats_once=True)


def test_open_a_million_texts(benchmark, stores, tmp_path):
    """In a fresh process; checksums of all files are verified."""
    file = tmp_path / "stores.pickle"
    file.write_bytes(pickle.dumps(stores))
    script = OPEN.format(path=sys.path, file=str(file))
    found = []

    def run():
        command = [sys.executable, "-P", "-c", script]
        found.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    benchmark.pedantic(run, rounds=3)
    seconds, mib, num_texts = np.median([list(map(float, line.split())) for line in found], axis=0)
    assert num_texts > 0.9 * 2 * NUM_PAIRS
    benchmark.extra_info |= {
        "texts": int(num_texts),
        "bytes": sum(store.tokens.ids.nbytes + store.tokens.offsets.nbytes for store in stores),
        "seconds_to_open": round(seconds, 4),
        "resident_mib": round(mib, 1),
    }


def padded_batch(dataset, encoder, step):
    """Plan, gather and pad one batch; return its features."""
    batch = dataset[step]
    ids, offsets = batch.ids.numpy(), batch.offsets.numpy()
    return batch, [
        (rows, encoder.backbone.features(ids, offsets, rows, length))
        for rows, length in cut_by_length(batch.lengths.numpy(), BUDGET)
    ]


def test_plan_gather_and_pad(benchmark, dataset, encoder, table):
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
    steps = iter(range(1, 10**6))
    benchmark.pedantic(
        lambda: padded_batch(dataset, encoder, next(steps)), rounds=15, warmup_rounds=2
    )
    benchmark.extra_info["rows_per_second"] = round(2 * BATCH_SIZE / benchmark.stats["median"])


def test_tokenizer_in_every_step(benchmark, dataset, encoder, table):
    steps = iter(range(1, 10**6))

    def tokenize():
        plan = dataset.sampler.batch(next(steps))
        texts = table.queries(plan.query_rows), table.passages(plan.passage_rows)
        return [
            encoder.tokenize(column[first : first + 32], side)
            for side, column in zip(SIDES, texts, strict=True)
            for first in range(0, BATCH_SIZE, 32)
        ]

    assert len(tokenize()) == 2 * BATCH_SIZE // 32
    benchmark.pedantic(tokenize, rounds=3, warmup_rounds=1)
    benchmark.extra_info["rows_per_second"] = round(2 * BATCH_SIZE / benchmark.stats["median"])
