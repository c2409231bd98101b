"""A step's items where hard negatives vary over batches and ranks, and in loader workers."""

from __future__ import annotations

import pickle

import pytest
import torch

from hybrid_fast.data import AlignedTable, HybridBatchSampler
from hybrid_fast.models import BiEncoder
from hybrid_fast.training.steps import StepDataset

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


def make_ranks(table: AlignedTable, num_ranks: int) -> list[StepDataset]:
    texts = [*table.queries(range(len(table))), *table.passages(range(len(table)))]
    encoder = BiEncoder.static(texts, dim=8, vocab_size=200, seed=0)
    return [
        StepDataset(
            table,
            HybridBatchSampler(table, batch_size=12, rank=rank, world_size=num_ranks),
            encoder,
            "passage",
        )
        for rank in range(num_ranks)
    ]


def texts_of(ranked: StepDataset, step: int) -> list[str]:
    rows = ranked.sampler.batch(step).passage_rows
    hard = [text for row in ranked.table.negatives(rows) for text in row]
    return ranked.table.passages(rows) + hard


def test_passage_ids_of_two_ranks_are_equal_for_equal_texts_alone():
    ranks = make_ranks(make_table(every=1), 2)
    for step in range(6):
        texts = [text for ranked in ranks for text in texts_of(ranked, step)]
        ids = torch.cat([ranked[step]["passage_ids"] for ranked in ranks])
        assert torch.equal(
            ids[:, None] == ids[None, :], torch.tensor([[a == b for b in texts] for a in texts])
        )
        assert (ids != -1).all()  # -1 would match nothing


@pytest.mark.parametrize("every", [12, 1000])
def test_all_ranks_give_passage_ids_or_none_does(every):
    """The loss exchanges them: with few hard negatives the slice of one rank may hold none."""
    ranks = make_ranks(make_table(every), 4)
    for step in range(12):
        assert len({"passage_ids" in ranked[step] for ranked in ranks}) == 1


def test_a_data_set_can_be_pickled_for_loader_workers():
    (ranked,) = make_ranks(make_table(every=1), 1)
    copy = pickle.loads(pickle.dumps(ranked))
    assert torch.equal(copy[3]["passage_ids"], ranked[3]["passage_ids"])
