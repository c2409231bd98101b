"""Right answers of a query that are no negatives of it: found as by looking at every row."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from ranks import run_ranks
from toy_training import losses, make_args

from hybrid_fast.data import AlignedTable, HybridBatchSampler, open_token_store
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.known_answers import KnownAnswers
from hybrid_fast.training.steps import StepDataset
from hybrid_fast.training.termination import leave_process_group


def make_table(negatives: bool = True) -> AlignedTable:
    """Three answers a query, a line each, some of which other queries have; hard negatives that are
    answers to others."""
    keys = [(query, k, lang) for query in range(24) for k in range(3) for lang in ("de", "en")]

    def passage(number, lang):
        return f"{lang} answer {number % 40}"

    columns = {
        "group_id": [f"{query}-{k}" for query, k, _ in keys],
        "lang": [lang for *_, lang in keys],
        "query": [f"{lang}  question {query}" if k else f"{lang} question {query}"
                  for query, k, lang in keys],
        "passage": [passage(2 * query + k, lang) for query, k, lang in keys],
    }  # fmt: skip
    if negatives:
        columns["negatives"] = [
            [passage(3 * query + k, lang), passage(7 * query, lang)] if query % 2 else []
            for query, k, lang in keys
        ]
    return AlignedTable.from_columns(columns)


def make_encoder(table: AlignedTable) -> BiEncoder:
    texts = [*table.queries(range(len(table))), *table.passages(range(len(table)))]
    return BiEncoder.static(texts, dim=16, vocab_size=200, seed=0)


def make_datasets(table, folder, num_ranks=1, shares_negatives=True, **options):
    encoder = make_encoder(table)
    stores = [
        open_token_store(
            table, side, partial(encoder.token_ids, side=side), encoder.tokenizer_key(side),
            folder,
        )
        for side in ("query", "passage")
    ]  # fmt: skip
    known = KnownAnswers.of_table(table, stores[1])
    return [
        StepDataset(
            HybridBatchSampler(table, batch_size=8, rank=rank, world_size=num_ranks, **options),
            *stores, "passage", repeats_once=True,
            known_answers=known, shares_negatives=shares_negatives,
        )
        for rank in range(num_ranks)
    ]  # fmt: skip


def plainly(table, dataset, step):
    """Which columns answer which queries, but for the positives, and the texts of the columns."""
    plan = dataset.sampler.batch(step)
    rows = range(len(table))
    groups = table.group_codes
    queries = [" ".join(text.split()) for text in table.queries(rows)]
    texts = table.passages(plan.passage_rows)
    texts += [text for row in table.negatives(plan.passage_rows) for text in row]
    answers = np.zeros((len(plan), len(texts)), bool)
    for i, row in enumerate(plan.query_rows):
        right = {
            table.passages([other])[0]
            for other in rows
            if queries[other] == queries[row] or groups[other] == groups[row]
        }
        answers[i] = [text in right for text in texts]
        answers[i, i] = False
    return answers


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.parametrize("kind", ["mono", "cross"])
def test_answers_among_the_columns_are_those_of_any_row(tmp_path, negatives, kind):
    table = make_table(negatives)
    (dataset,) = make_datasets(table, tmp_path, kind=kind)
    num_found = 0
    for step in range(30):
        expected = plainly(table, dataset, step)
        answers = dataset[step].answers
        found = np.zeros_like(expected) if answers is None else answers.numpy()
        np.testing.assert_array_equal(found, expected)
        num_found += expected.sum()
    assert num_found > 0


def test_ranks_agree_and_have_the_rows_of_one(tmp_path):
    table = make_table()
    (whole,), ranks = make_datasets(table, tmp_path), make_datasets(table, tmp_path, 2)
    seen = set()
    for step in range(20):
        one, parts = whole[step].answers, [dataset[step].answers for dataset in ranks]
        assert {one is None} == {part is None for part in parts}
        if one is None:
            continue
        sizes = [len(dataset[step].passages) for dataset in ranks]
        # One process has all positives first, two have positives and hard negatives of each rank.
        order = [
            *range(4),
            *range(8, 8 + sizes[0] - 4),
            *range(4, 8),
            *range(8 + sizes[0] - 4, sum(sizes)),
        ]
        np.testing.assert_array_equal(np.concatenate(parts), one.numpy()[:, order])
        seen.add(tuple(bool(part.any()) for part in parts))
    assert {True in pair and False in pair for pair in seen} >= {True}


def test_ranks_that_share_no_negatives_have_their_own_columns(tmp_path):
    table = make_table()
    ranks = make_datasets(table, tmp_path, 2, shares_negatives=False)
    for step in range(10):
        for dataset in ranks:
            answers = dataset[step].answers
            expected = plainly(table, dataset, step)
            assert expected.any() == (answers is not None)
            if answers is not None:
                np.testing.assert_array_equal(answers.numpy(), expected)


def test_nothing_is_kept_where_no_query_can_meet_an_answer(tmp_path):
    keys = [(group, lang) for group in range(20) for lang in ("de", "en")]
    table = AlignedTable.from_columns(
        {
            "group_id": [str(group) for group, _ in keys],
            "lang": [lang for _, lang in keys],
            "query": [f"{lang} question {group}" for group, lang in keys],
            "passage": [f"{lang} answer {group}" for group, lang in keys],
            "negatives": [[f"nothing {group}"] for group, _ in keys],
        }
    )
    (dataset,) = make_datasets(table, tmp_path)
    assert dataset.known_answers is None
    assert dataset[0].answers is None


def train(rank, world_size, folder):
    options = {"ddp_backend": "gloo"} if world_size > 1 else {}
    table = make_table()
    args = make_args(
        folder / f"{world_size}-{rank}", batch_size=8, max_steps=6, logging_steps=1, **options
    )
    found = losses(HybridTrainer(make_encoder(table), args, table))
    leave_process_group()
    return found


def test_two_ranks_leave_out_the_answers_that_one_does(tmp_path):
    first, second = run_ranks(train, 2, tmp_path)
    assert first == second
    np.testing.assert_allclose(first, train(0, 1, tmp_path), rtol=1e-5)


def test_training_leaves_the_answers_out(tmp_path):
    """A step's loss is that of the definition without them, which is lower."""
    table = make_table()
    trainer = HybridTrainer(make_encoder(table), make_args(tmp_path, batch_size=8), table)
    step = next(step for step in range(20) if trainer.train_dataset[step].answers is not None)
    batch = trainer.train_dataset[step]
    with_all = trainer.cached_step(batch._replace(answers=None))
    without = trainer.cached_step(batch)
    queries = trainer.encoder.encode_queries(table.queries(trainer.sampler.batch(step).query_rows))
    rows = trainer.sampler.batch(step).passage_rows
    texts = table.passages(rows) + [text for row in table.negatives(rows) for text in row]
    scores = queries @ trainer.encoder.encode_passages(texts).T / trainer.args.temperature
    scores[batch.answers.numpy()] = -np.inf
    positive = [text == texts[i] for i in range(8) for text in texts]
    twins = np.array(positive).reshape(8, -1) & ~np.eye(8, len(texts), dtype=bool)
    scores[twins] = -np.inf
    expected = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(8), np.arange(8)]
    assert without.item() == pytest.approx(expected.mean(), rel=1e-4)
    assert without < with_all
