"""HybridTrainer: epochs, evaluation, logs, saving and what it refuses, on a tiny encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_training import RecordingTrainer, Task, make_args, make_model, make_table, same, weights
from transformers import EarlyStoppingCallback

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer

pytestmark = pytest.mark.usefixtures("every_table_is_large")


def test_training_lowers_the_loss_and_epochs_go_on_through_the_plan(tmp_path):
    trainer = RecordingTrainer(make_model(), make_args(tmp_path), make_table())
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert len(trainer.sampler) == 12
    assert trainer.fetched == list(range(30))
    rows = [trainer.sampler.batch(step).query_rows.tolist() for step in range(24)]
    assert rows[:12] != rows[12:]


def test_the_best_rank_distance_is_the_smallest(tmp_path):
    assert not make_args(tmp_path, metric_for_best_model="rank_distance").greater_is_better
    assert not make_args(tmp_path, metric_for_best_model="eval_loss").greater_is_better
    assert make_args(tmp_path, metric_for_best_model="multi_map").greater_is_better


def test_evaluator_early_stopping_and_best_model(tmp_path):
    args = make_args(
        tmp_path,
        max_steps=60,
        eval_strategy="steps",
        eval_steps=5,
        save_strategy="steps",
        save_steps=5,
        load_best_model_at_end=True,
        metric_for_best_model="multi_map",
        greater_is_better=True,
    )
    trainer = HybridTrainer(
        make_model(), args, make_table(), Task(), callbacks=[EarlyStoppingCallback(2)]
    )
    trainer.train()
    assert trainer.state.global_step == 25
    assert trainer.state.best_metric == 1
    best = BiEncoder.from_pretrained(tmp_path / "checkpoint-15")
    assert same(weights(best), weights(trainer.encoder))
    logged = [e["eval_multi_map"] for e in trainer.state.log_history if "eval_multi_map" in e]
    assert logged == pytest.approx([0.8, 0.9, 1.0, 0.9, 0.8])


def test_a_saved_model_gives_the_same_vectors(tmp_path):
    trainer = HybridTrainer(make_model(), make_args(tmp_path), make_table())
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    texts = ["en question 1", "fr question 30"]
    loaded = BiEncoder.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.encode_queries(texts), trainer.encoder.encode_queries(texts)
    )
    pickles = [path for path in (tmp_path / "model").rglob("*") if path.suffix in (".bin", ".pt")]
    assert not pickles


@pytest.mark.parametrize("negatives_from", ["passage", "query"])
def test_hard_negatives_join_the_passages_and_equal_texts_share_an_id(tmp_path, negatives_from):
    args = make_args(tmp_path, negatives_from=negatives_from, max_steps=3)
    table = make_table(negatives=True)
    trainer = HybridTrainer(make_model(), args, table)
    item = trainer.train_dataset[1]
    batch = trainer.sampler.batch(1)
    rows = batch.passage_rows if negatives_from == "passage" else batch.query_rows
    texts = table.passages(batch.passage_rows) + [n[0] for n in table.negatives(rows)]
    ids = item.passage_ids.tolist()
    assert len(ids) == len(texts) == 24
    assert all((texts[i] == texts[j]) == (ids[i] == ids[j]) for i in range(24) for j in range(24))
    trainer.train()


def test_pairs_tokens_and_padding_are_logged_with_the_loss(tmp_path):
    trainer = HybridTrainer(make_model(), make_args(tmp_path), make_table())
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 6
    for entry in logs:
        assert entry["pairs_per_second"] > 0
        assert entry["tokens_per_second"] > entry["pairs_per_second"]
        assert entry["padding_share"] == 0  # of a static encoder
    assert trainer.timer.num_updates == 30
    assert all(trainer.timer.seconds[part] > 0 for part in ("data", "loss", "optimiser"))


def test_repeated_texts_are_embedded_once_unless_dropout_would_tie_their_masks(
    tmp_path, xlm_roberta_folder
):
    def repeats_once(**options) -> bool:
        model = BiEncoder.from_pretrained(xlm_roberta_folder)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = options.get("dropout", 0.0)
        model.backbone.model.config.hidden_dropout_prob = 0.0
        model.backbone.model.config.attention_probs_dropout_prob = 0.0
        args = make_args(tmp_path, embed_repeats_once=options.get("asked"))
        return HybridTrainer(model, args, make_table()).train_dataset.repeats_once

    assert repeats_once()
    assert not repeats_once(dropout=0.1)
    assert repeats_once(dropout=0.1, asked=True)
    assert not repeats_once(asked=False)


def test_texts_that_are_cut_are_counted(tmp_path, xlm_roberta_folder, caplog):
    model = BiEncoder.from_pretrained(xlm_roberta_folder, max_passage_length=5, passage_prompt="")
    with caplog.at_level("INFO", logger="hybrid_fast"):
        HybridTrainer(model, make_args(tmp_path), make_table())
    assert "144 of 144 different passage texts exceed 5 tokens and are truncated" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0}, "alpha is 2.0"),
        ({"kind": "hybird"}, "did you mean 'hybrid'"),
        ({"batch_size": 49}, "the largest batch_size that works is 48"),
        ({"temperature": 0.0}, "temperature"),
        ({"negatives_from": "both"}, "one of 'passage', 'query'"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
        ({"batch_size": 0}, r"positive multiple of the number of ranks \(1\)"),
        ({"language_sampling": {"xx": 1.0}}, "names 'xx'"),
    ],
)
def test_bad_options_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        HybridTrainer(make_model(), make_args(tmp_path, **options), make_table())


def test_an_encoder_that_is_frozen_is_an_error(tmp_path):
    model = make_model()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="all weights of the encoder are frozen"):
        HybridTrainer(model, make_args(tmp_path), make_table())


def test_evaluating_without_a_task_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no task to evaluate"):
        HybridTrainer(make_model(), make_args(tmp_path), make_table()).evaluate()
