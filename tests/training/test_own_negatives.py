"""Hard negatives of one's own: each batch says whose they are and which queries have no others, and
the loss of a step, on one rank or several, is that of plain loops over its definition."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from literal_loss import literal_loss
from ranks import run_ranks
from torch import Tensor
from toy_training import losses, make_args

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.learning import chance_loss
from hybrid_fast.training.steps import Batch
from hybrid_fast.training.termination import leave_process_group

LANGUAGES = ("de", "en")
OF_OWN = {"owners", "in_batch"}


def make_source(name: str, num_groups: int, in_batch: bool, negatives=None) -> AlignedTable:
    """Some passages answer several queries, some hard negatives are right answers to others, or
    those of several queries; a query has 0 to 2 of them, unless all have a given number."""
    keys = [(group, lang) for group in range(num_groups) for lang in LANGUAGES]
    columns: dict[str, Any] = {
        "group_id": [str(group) for group, _ in keys],
        "lang": [lang for _, lang in keys],
        "query": [f"{lang} {name} question {group}" for group, lang in keys],
        "passage": [f"{lang} answer {group % 15}" for group, lang in keys],
        "passage_id": [f"{name} {group}" for group, _ in keys],
        "negatives": [
            [
                f"{lang} answer {(group + 1 + 3 * n) % 17}"
                for n in range(group % 3 if negatives is None else negatives)
            ]
            for group, lang in keys
        ],
        "in_batch": in_batch,
    }
    return AlignedTable.from_columns(columns, source=name)


def make_table(in_batch: bool = False, negatives=None) -> AlignedTable:
    """Of the second source the queries have their own hard negatives alone, unless `in_batch`."""
    return AlignedTable.concatenate(
        [make_source("pooled", 20, True, negatives), make_source("alone", 20, in_batch, negatives)]
    )


def make_trainer(folder: Path, table: AlignedTable | None = None, **options) -> HybridTrainer:
    table = make_table() if table is None else table
    texts = [*table.queries(range(len(table))), *table.passages(range(len(table)))]
    encoder = BiEncoder.static(texts, dim=16, vocab_size=200, seed=0)
    return HybridTrainer(encoder, make_args(folder, **options), table)


def gradient(trainer: HybridTrainer, batch: Batch) -> tuple[float, Tensor]:
    trainer.model.zero_grad()
    loss = trainer.cached_step(batch).item()
    return loss, trainer.encoder.backbone.embedding.weight.grad.to_dense().clone()


@pytest.mark.parametrize("negatives_from", ["passage", "query"])
@pytest.mark.parametrize("repeats_once", [False, True])
def test_each_hard_negative_is_that_of_its_owner(tmp_path, negatives_from, repeats_once):
    table = make_table()
    options = {"negatives_from": negatives_from, "embed_repeats_once": repeats_once}
    trainer = make_trainer(tmp_path, table, **options)
    shared = 0
    for step in range(6):
        batch, plan = trainer.train_dataset[step], trainer.sampler.batch(step)
        rows = plan.passage_rows if negatives_from == "passage" else plan.query_rows
        own = table.negatives(rows)
        texts = [text for each in own for text in each]
        shared += len(texts) - len(set(texts))
        owners = batch.owners.tolist()
        assert owners[:12] == [-1] * 12
        assert owners[12:] == [i for i, each in enumerate(own) for _ in each]
        # The columns are those of uses: a text that several examples have has a column for each.
        assert len(batch.passages) == 12 + len(texts)
        tokens = [
            batch.ids[batch.offsets[place] : batch.offsets[place + 1]].tolist()
            for place in batch.passages[12:]
        ]
        expected = [trainer.encoder.token_ids([text], "passage")[0].tolist() for text in texts]
        assert tokens == expected
        assert batch.in_batch.tolist() == table.in_batch[plan.query_rows].tolist()
    assert shared > 0


@pytest.mark.parametrize(
    ("table", "options", "given"),
    [
        (make_table(), {}, {"owners", "in_batch"}),
        (make_table(), {"margin": 0.1}, {"owners", "in_batch"}),
        (make_table(in_batch=True), {"margin": 0.1}, {"owners"}),
        (make_table(in_batch=True), {}, set()),
        (make_table(negatives=0), {"margin": 0.1}, {"in_batch"}),
        (make_table(in_batch=True, negatives=0), {"margin": 0.1}, set()),
    ],
)
def test_the_table_and_the_arguments_decide_what_all_ranks_give(tmp_path, table, options, given):
    trainer = make_trainer(tmp_path, table, **options)
    seen = []
    trainer.model.loss.forward = lambda queries, passages, **more: (
        seen.append(more) or (queries.sum() + passages.sum())
    )
    for step in range(8):
        batch = trainer.train_dataset[step]
        assert {name for name in OF_OWN if getattr(batch, name) is not None} == given
        trainer.cached_step(batch)
    for more in seen:
        assert more.keys() & OF_OWN == given
        assert all(isinstance(each, Tensor) for each in more.values())
    assert len(seen) == 8


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("margin", [None, 0.0, -0.3])
@pytest.mark.parametrize("negatives", [None, 0])
def test_a_step_has_the_loss_and_the_gradient_of_plain_loops(
    tmp_path, symmetric, margin, negatives
):
    options = {"symmetric": symmetric, "margin": margin, "temperature": 0.2}
    trainer = make_trainer(tmp_path, make_table(negatives=negatives), **options)
    found = {"alone": 0, "answers": 0, "pooled": 0}
    for step in range(5):
        batch = trainer.train_dataset[step]
        found["alone"] += int((~batch.in_batch).sum())
        found["pooled"] += int(batch.in_batch.sum())
        found["answers"] += 0 if batch.answers is None else int(batch.answers.sum())
        loss, weight = gradient(trainer, batch)
        trainer.model.loss.forward = partial(literal_loss, normalize=True, **options)
        expected, expected_weight = gradient(trainer, batch)
        del trainer.model.loss.forward
        assert loss == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(weight, expected_weight, rtol=1e-4, atol=1e-6)
        without = gradient(trainer, batch._replace(in_batch=None))[0]
        assert without != pytest.approx(loss, rel=1e-3)
    assert all(found.values())


def test_a_margin_spares_own_hard_negatives(tmp_path):
    """With a margin that nothing else passes, a query has its own hard negatives alone."""
    table = make_table(in_batch=True, negatives=2)
    trainer = make_trainer(tmp_path, table, margin=-3.0)
    batch = trainer.train_dataset[0]
    loss, weight = gradient(trainer, batch)
    alone = batch._replace(in_batch=torch.zeros(12, dtype=torch.bool))
    expected, expected_weight = gradient(trainer, alone)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert loss > 0.1
    torch.testing.assert_close(weight, expected_weight)


def train(rank: int, world_size: int, folder: Path, runs: dict[str, dict[str, Any]]) -> dict:
    """The losses of some runs, and an embedding after each."""
    found = {}
    options = {"ddp_backend": "gloo"} if world_size > 1 else {}
    for name, given in runs.items():
        trainer = make_trainer(
            folder / f"{name}-{world_size}-{rank}", max_steps=6, logging_steps=1,
            max_grad_norm=0.0, **options, **given,
        )  # fmt: skip
        found[name] = {
            "losses": losses(trainer),
            "embedding": trainer.encoder.encode_queries(["en alone question 3"]).tolist(),
        }
    leave_process_group()
    return found


def test_two_ranks_train_as_one(tmp_path):
    runs = {
        "plain": {},
        "margin": {"margin": 0.0, "negatives_from": "query"},
        "symmetric": {"symmetric": True, "margin": 0.1},
        "hard": {"negatives": "hard_only"},
    }
    expected = train(0, 1, tmp_path, runs)
    first, second = run_ranks(train, 2, tmp_path, runs)
    assert first == second
    for name, run in expected.items():
        np.testing.assert_allclose(first[name]["losses"], run["losses"], rtol=1e-5)
        np.testing.assert_allclose(first[name]["embedding"], run["embedding"], atol=2e-5)
    values = [tuple(run["losses"]) for run in expected.values()]
    assert len(set(values)) == len(values)


def test_a_checkpoint_of_another_setting_of_a_source_is_refused(tmp_path):
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    make_trainer(tmp_path / "run", **options).train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    other = make_trainer(tmp_path / "other", make_table(in_batch=True), **options)
    was, now = make_table().fingerprint, make_table(in_batch=True).fingerprint
    pattern = f"was trained with table = '{was}', this run has '{now}'; resume with the same plan"
    with pytest.raises(ValueError, match=pattern):
        other.train(resume_from_checkpoint=str(checkpoint))
    make_trainer(tmp_path / "same", **options).train(resume_from_checkpoint=str(checkpoint))


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"negatives": "hard_only"}])
def test_the_loss_by_chance_is_that_of_equal_scores(tmp_path, options):
    trainer = make_trainer(tmp_path, **options)
    for step in range(3):
        batch = trainer.train_dataset[step]._replace(passage_ids=None, answers=None)
        torch.nn.init.ones_(trainer.encoder.backbone.embedding.weight)
        sizes = len(batch.queries), len(batch.passages), batch.own_negatives
        assert len(batch.own_negatives) == int((~batch.in_batch).sum())
        expected = trainer.cached_step(batch).item()
        assert chance_loss(trainer.args, *sizes) == pytest.approx(expected, rel=1e-5)
