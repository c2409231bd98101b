"""A step's items where hard negatives vary over batches and ranks, and in loader workers."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch

from hybrid_fast.data import AlignedTable, HybridBatchSampler, open_token_store
from hybrid_fast.models import BiEncoder
from hybrid_fast.training.steps import Batch, StepDataset, StepLoader

NUM_GROUPS = 48
LANGUAGES = ("de", "en", "fr")


def make_table(every: int) -> AlignedTable:
    """Every so many groups have a hard negative: the passage of the next group."""
    keys = [(group, lang) for group in range(NUM_GROUPS) for lang in LANGUAGES]
    return AlignedTable.from_columns(
        {
            "group_id": [f"g{group}" for group, _ in keys],
            "lang": [lang for _, lang in keys],
            "query": [f"{lang} question {group}" for group, lang in keys],
            "passage": [f"{lang} answer {group}" for group, lang in keys],
            "negatives": [
                [] if group % every else [f"{lang} answer {group + 1}"] for group, lang in keys
            ],
        }
    )


def make_ranks(table: AlignedTable, num_ranks: int, *, repeats_once: bool = True) -> list[Step]:
    texts = [*table.queries(range(len(table))), *table.passages(range(len(table)))]
    encoder = BiEncoder.static(texts, dim=8, vocab_size=200, seed=0, query_prompt="ask ")
    queries, passages = (
        open_token_store(
            table, side, partial(encoder.token_ids, side=side), encoder.tokenizer_key(side)
        )
        for side in ("query", "passage")
    )
    samplers = [
        HybridBatchSampler(table, batch_size=12, rank=rank, world_size=num_ranks)
        for rank in range(num_ranks)
    ]
    return [
        Step(
            table,
            encoder,
            StepDataset(sampler, queries, passages, "passage", repeats_once=repeats_once),
        )
        for sampler in samplers
    ]


@dataclass
class Step:
    table: AlignedTable
    encoder: BiEncoder
    dataset: StepDataset

    def batch(self, step: int) -> Batch:
        return self.dataset[step]

    def passages(self, step: int) -> list[str]:
        """Positives, then hard negatives."""
        rows = self.dataset.sampler.batch(step).passage_rows
        hard = [text for row in self.table.negatives(rows) for text in row]
        return self.table.passages(rows) + hard

    def queries(self, step: int) -> list[str]:
        return self.table.queries(self.dataset.sampler.batch(step).query_rows)


def ids_of(batch: Batch, places: torch.Tensor) -> list[list[int]]:
    return [batch.ids[batch.offsets[place] : batch.offsets[place + 1]].tolist() for place in places]


@pytest.mark.parametrize("repeats_once", [False, True])
def test_places_lead_to_the_ids_of_queries_positives_and_hard_negatives(repeats_once):
    (rank,) = make_ranks(make_table(every=2), 1, repeats_once=repeats_once)
    for step in range(4):
        batch = rank.batch(step)
        assert batch.step == step
        for places, texts, side in (
            (batch.queries, rank.queries(step), "query"),
            (batch.passages, rank.passages(step), "passage"),
        ):
            expected = [rank.encoder.token_ids([text], side)[0].tolist() for text in texts]
            assert ids_of(batch, places) == expected
        texts = [("q", t) for t in rank.queries(step)] + [("p", t) for t in rank.passages(step)]
        assert len(batch.lengths) == (len(set(texts)) if repeats_once else len(texts))


def test_a_repeated_text_is_among_the_texts_once_only_if_wanted():
    repeated = [
        len(rank.batch(step).lengths)
        for wanted in (False, True)
        for rank in make_ranks(make_table(every=1), 1, repeats_once=wanted)
        for step in range(12)
    ]
    assert repeated[:12] == [36] * 12
    assert min(repeated[12:]) < 36


def test_passage_ids_of_two_ranks_are_equal_for_equal_texts_alone():
    ranks = make_ranks(make_table(every=1), 2)
    for step in range(6):
        texts = [text for rank in ranks for text in rank.passages(step)]
        ids = torch.cat([rank.batch(step).passage_ids for rank in ranks])
        assert torch.equal(
            ids[:, None] == ids[None, :], torch.tensor([[a == b for b in texts] for a in texts])
        )
        assert (ids != -1).all()  # -1 would match nothing


@pytest.mark.parametrize("every", [12, 1000])
def test_all_ranks_give_passage_ids_or_none_does(every):
    """The loss exchanges them: with few hard negatives the slice of one rank may hold none."""
    ranks = make_ranks(make_table(every), 4)
    for step in range(12):
        assert len({rank.batch(step).passage_ids is None for rank in ranks}) == 1


def assert_same(first: Batch, second: Batch) -> None:
    for name, one, other in zip(Batch._fields, first, second, strict=True):
        assert type(one) is type(other), name
        np.testing.assert_array_equal(one, other)


def test_a_data_set_can_be_pickled_for_loader_workers():
    (rank,) = make_ranks(make_table(every=1), 1)
    copy = pickle.loads(pickle.dumps(rank.dataset))
    assert_same(copy[3], rank.batch(3))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_hands_on_arrays_and_tensors_as_they_are(num_workers):
    """Micro-batches are cut from arrays; what goes to the device as it is has become a tensor."""
    (rank,) = make_ranks(make_table(every=2), 1)
    loader = StepLoader(rank.dataset, num_workers=num_workers)
    batches = list(islice(loader, 4))
    for step, batch in enumerate(batches):
        assert_same(batch, rank.batch(step))
        kinds = {name: type(value) for name, value in batch._asdict().items() if value is not None}
        assert {name for name, kind in kinds.items() if kind is np.ndarray} == {"ids", "offsets"}
        assert {name for name, kind in kinds.items() if kind is torch.Tensor} == {
            "queries", "passages", "passage_ids"
        }  # fmt: skip
    assert len(batches) == 4


@pytest.mark.parametrize("repeats_once", [False, True])
def test_texts_of_queries_come_first(repeats_once):
    (rank,) = make_ranks(make_table(every=2), 1, repeats_once=repeats_once)
    for step in range(4):
        batch = rank.batch(step)
        assert set(batch.queries.tolist()) == set(range(batch.num_query_texts))
        others = set(range(batch.num_query_texts, len(batch.lengths)))
        assert set(batch.passages.tolist()) == others
