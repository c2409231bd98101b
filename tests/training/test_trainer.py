"""HybridTrainer: epochs, resuming, distribution, evaluation and saving, on a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from ranks import become_rank
from safetensors.torch import load_file
from transformers import EarlyStoppingCallback, TrainerCallback

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments, token_tables
from hybrid_fast.training.checkpoints import last_checkpoint
from hybrid_fast.training.collectives import leave_process_group
from hybrid_fast.training.lazy_adam import LazyAdamW
from hybrid_fast.training.memory import TokenBudget

NUM_GROUPS = 48
LANGUAGES = ("de", "en", "fr")


@pytest.fixture(autouse=True)
def every_table_is_large(monkeypatch):
    """So that tables are trained as large ones are: see LazyAdamW."""
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", 1)


def make_table(negatives: bool = False) -> AlignedTable:
    columns = {"group_id": [], "lang": [], "query": [], "passage": []}
    for group in range(NUM_GROUPS):
        for lang in LANGUAGES:
            columns["group_id"].append(f"g{group}")
            columns["lang"].append(lang)
            columns["query"].append(f"{lang} question {group}")
            columns["passage"].append(f"{lang} answer {group} of {group * 7}")
    if negatives:
        columns["negatives"] = [
            [f"{lang} answer {int(group[1:]) + 1} of {(int(group[1:]) + 1) * 7}"]
            for group, lang in zip(columns["group_id"], columns["lang"], strict=True)
        ]
    return AlignedTable.from_columns(columns)


def make_model(seed: int = 0) -> BiEncoder:
    table = make_table()
    texts = [*table.queries(range(len(table))), *table.passages(range(len(table)))]
    return BiEncoder.static(texts, dim=16, vocab_size=300, seed=seed)


def make_args(folder: Path, **options) -> HybridTrainingArguments:
    options = {
        "batch_size": 12,
        "max_steps": 30,
        "learning_rate": 0.02,
        "save_strategy": "no",
        "logging_steps": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **options,
    }
    return HybridTrainingArguments(output_dir=str(folder), **options)


class RecordingTrainer(HybridTrainer):
    """Keeps the steps whose batches were fetched."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.fetched: list[int] = []
        plan = self.sampler.batch
        self.sampler.batch = lambda step: (self.fetched.append(step), plan(step))[1]


def weights(model: BiEncoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss_and_epochs_go_on_through_the_plan(tmp_path):
    trainer = RecordingTrainer(make_model(), make_args(tmp_path), make_table())
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert len(trainer.sampler) == 12
    assert trainer.fetched == list(range(30))
    rows = [trainer.sampler.batch(step).query_rows.tolist() for step in range(24)]
    assert rows[:12] != rows[12:]


@pytest.mark.parametrize(("accumulation", "large_table"), [(1, 1), (2, 1), (2, 10_000)])
def test_a_resumed_run_ends_bit_equal_and_fetches_unseen_steps_only(
    tmp_path, accumulation, large_table, monkeypatch
):
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", large_table)
    options = {
        "gradient_accumulation_steps": accumulation,
        "max_steps": 20 // accumulation,
        "learn_temperature": True,
    }
    whole = RecordingTrainer(make_model(), make_args(tmp_path / "whole", **options), make_table())
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": 16 // accumulation, **options}
    interrupted = make_args(tmp_path / "cut", **saving)
    RecordingTrainer(make_model(), interrupted, make_table()).train()

    resumed = RecordingTrainer(make_model(seed=1), interrupted, make_table())
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{16 // accumulation}"))
    assert resumed.fetched == list(range(16, 20))  # the middle of epoch 2
    assert whole.fetched == list(range(20))
    assert same(weights(whole.model), weights(resumed.model))


def test_true_resumes_from_the_last_complete_checkpoint(tmp_path):
    args = make_args(tmp_path, save_strategy="steps", save_steps=10)
    HybridTrainer(make_model(), args, make_table()).train()
    (tmp_path / "checkpoint-30" / "trainer_state.json").unlink()
    assert last_checkpoint(str(tmp_path)).name == "checkpoint-20"
    resumed = RecordingTrainer(make_model(), args, make_table())
    resumed.train(resume_from_checkpoint=True)
    assert resumed.fetched == list(range(20, 30))
    with pytest.raises(ValueError, match="no complete checkpoint to resume from"):
        last_checkpoint(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 6}, "was trained with batch_size = 12, this run has 6"),
        ({"kind": "cross"}, "kind = 'hybrid', this run has 'cross'"),
        ({"learn_temperature": True}, "learn_temperature = False"),
    ],
)
def test_resuming_with_another_plan_is_an_error(tmp_path, options, message):
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 2}
    HybridTrainer(make_model(), make_args(tmp_path, **saving), make_table()).train()
    other = HybridTrainer(make_model(), make_args(tmp_path, **saving, **options), make_table())
    with pytest.raises(ValueError, match=message):
        other.train(resume_from_checkpoint=True)


def test_resuming_with_another_model_is_an_error(tmp_path):
    args = make_args(tmp_path, save_strategy="steps", save_steps=2, max_steps=2)
    HybridTrainer(make_model(), args, make_table()).train()
    texts = make_table().queries(range(20))
    other = BiEncoder.static(texts, dim=8, vocab_size=100, seed=0)
    with pytest.raises(ValueError, match="holds another model: its weights are"):
        HybridTrainer(other, args, make_table()).train(resume_from_checkpoint=True)


def plain_adamw(args: HybridTrainingArguments) -> dict:
    options = {"lr": args.learning_rate, "betas": (args.adam_beta1, args.adam_beta2)}
    return {"optimizer_cls_and_kwargs": (torch.optim.AdamW, options)}


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_lazy_updates_are_those_of_adamw(tmp_path, max_grad_norm):
    options = {
        "max_grad_norm": max_grad_norm,
        "weight_decay": 0.1,
        "warmup_steps": 3,
        "gradient_accumulation_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 7,
        "learn_temperature": True,
    }
    args = make_args(tmp_path, **options)
    lazy = HybridTrainer(make_model(), args, make_table(), Task())
    dense = HybridTrainer(make_model(), args, make_table(), Task(), **plain_adamw(args))
    for trainer in (lazy, dense):
        trainer.train()
    assert isinstance(lazy.optimizer.optimizer, LazyAdamW)
    assert type(dense.optimizer.optimizer) is torch.optim.AdamW
    for name, expected in dense.model.state_dict().items():
        torch.testing.assert_close(lazy.model.state_dict()[name], expected, rtol=1e-4, atol=2e-5)
    norms = [
        [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
        for trainer in (lazy, dense)
    ]
    assert len(norms[0]) == 6
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_evaluating_and_saving_change_no_bit(tmp_path):
    plain = HybridTrainer(make_model(), make_args(tmp_path / "plain"), make_table())
    busy_options = {
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_strategy": "steps",
        "save_steps": 5,
    }
    busy = HybridTrainer(
        make_model(), make_args(tmp_path / "busy", **busy_options), make_table(), Task()
    )
    for trainer in (plain, busy):
        trainer.train()
    assert same(weights(plain.model), weights(busy.model))


@pytest.mark.parametrize("lazy_first", [True, False])
def test_lazy_updates_and_adamw_go_on_from_checkpoints_of_one_another(tmp_path, lazy_first):
    args = make_args(tmp_path, max_steps=20, save_strategy="steps", save_steps=10)
    kinds = [{}, plain_adamw(args)]
    first, second = kinds if lazy_first else kinds[::-1]
    whole = HybridTrainer(make_model(), args, make_table(), **first)
    whole.train()
    resumed = HybridTrainer(make_model(), args, make_table(), **second)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert isinstance(resumed.optimizer.optimizer, LazyAdamW) != lazy_first
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=1e-4, atol=2e-5)


def test_whoever_reads_weights_while_training_reads_those_of_adamw(tmp_path):
    class Reader(TrainerCallback):
        def __init__(self):
            self.seen = []

        def on_step_end(self, args, state, control, *, model, **kwargs):
            self.seen.append(weights(model)["encoder.backbone.embedding.weight"])

    args = make_args(tmp_path, max_steps=4)
    readers = Reader(), Reader()
    for reader, own in zip(readers, ({}, plain_adamw(args)), strict=True):
        HybridTrainer(make_model(), args, make_table(), callbacks=[reader], **own).train()
    assert len(readers[0].seen) == 4
    torch.testing.assert_close(readers[0].seen, readers[1].seen, rtol=1e-4, atol=2e-5)


class StopAfter(TrainerCallback):
    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.num_steps


def test_a_run_that_is_interrupted_leaves_no_row_behind(tmp_path):
    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    args = make_args(tmp_path)
    interrupted = HybridTrainer(make_model(), args, make_table(), callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    stopped = HybridTrainer(make_model(), args, make_table(), callbacks=[StopAfter(3)])
    stopped.train()
    assert same(weights(interrupted.model), weights(stopped.model))


def test_a_second_training_goes_on_from_the_first(tmp_path):
    trainers = []
    args = make_args(tmp_path, max_steps=5)
    for own in ({}, plain_adamw(args)):
        trainer = HybridTrainer(make_model(), args, make_table(), **own)
        trainer.train()
        trainer.train()
        trainers.append(trainer)
    torch.testing.assert_close(
        weights(trainers[0].model), weights(trainers[1].model), rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize(
    "options",
    [
        {"optim": "sgd"},
        {"adam_beta1": 0.99, "adam_beta2": 0.9},
        {"torch_compile": True, "torch_compile_backend": "aot_eager"},
    ],
    ids=str,
)
def test_what_cannot_be_lazy_is_not(tmp_path, options):
    args = make_args(tmp_path, max_steps=2, **options)
    trainer = HybridTrainer(make_model(), args, make_table())
    trainer.train()
    assert not isinstance(trainer.optimizer.optimizer, LazyAdamW)
    assert not same(weights(trainer.encoder), weights(make_model()))


def test_the_best_rank_distance_is_the_smallest(tmp_path):
    assert not make_args(tmp_path, metric_for_best_model="rank_distance").greater_is_better
    assert make_args(tmp_path, metric_for_best_model="multi_map").greater_is_better


class Task:
    """An evaluator whose figure rises to a peak at the third evaluation, then falls."""

    name = "made-up"

    def __init__(self):
        self.calls = 0

    def evaluate(self, model, batch_size=8):
        assert model.encode_queries(["en question 1"], batch_size=batch_size).shape == (1, 16)
        self.calls += 1
        figure = 1 - abs(self.calls - 3) / 10

        class Results:
            @staticmethod
            def flat():
                return {"multi_map": figure, "rank_distance": 5.0}

        return Results()


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


def test_a_checkpoint_keeps_the_token_budget_and_a_resumed_run_takes_it(
    tmp_path, xlm_roberta_folder, caplog
):
    """The budget decides which texts are padded together, so on the last bits."""
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-3}

    def make_trainer(**more) -> HybridTrainer:
        model = BiEncoder.from_pretrained(xlm_roberta_folder)
        return HybridTrainer(model, make_args(tmp_path, **options, **more), make_table())

    whole = make_trainer()
    whole.cached_step.budget = TokenBudget(100, 250)
    with caplog.at_level("INFO", logger="hybrid_fast"):
        whole.train()
    assert "Each query is contrasted with 11 in-batch negatives; " in caplog.text
    assert caplog.text.count("Texts are embedded 100 tokens at a time, padding included") == 1
    assert "activations are cached for 250 of the" in caplog.text
    path = tmp_path / "checkpoint-2" / "token_budget.json"
    assert json.loads(path.read_text()) == {"micro_batch": 100, "cached": 250, "num_halvings": 0}
    resumed = make_trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.cached_step.budget == TokenBudget(100, 250)
    assert same(weights(whole.model), weights(resumed.model))
    kept_by_hand = make_trainer(cached_activation_tokens=30)
    kept_by_hand.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert kept_by_hand.cached_step.budget == TokenBudget(100, 30)
    by_hand = make_trainer(micro_batch_tokens=60, cached_activation_tokens=0)
    by_hand.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert by_hand.cached_step.budget == TokenBudget(60, 0)


def test_repeated_texts_are_embedded_once_unless_dropout_would_tie_their_masks(
    tmp_path, bert_folder
):
    def repeats_once(**options) -> bool:
        model = BiEncoder.from_pretrained(bert_folder)
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


def test_a_learned_temperature_is_trained_saved_and_not_decayed(tmp_path):
    args = make_args(
        tmp_path, learn_temperature=True, weight_decay=0.1, save_strategy="steps", save_steps=30
    )
    trainer = HybridTrainer(make_model(), args, make_table())
    trainer.train()
    saved = load_file(tmp_path / "checkpoint-30" / "loss.safetensors")
    assert saved["log_temperature"] == trainer.model.loss.log_temperature
    assert trainer.model.loss.temperature.item() != pytest.approx(0.05)
    assert "loss.log_temperature" not in trainer.get_decay_parameter_names(trainer.model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0}, "alpha is 2.0"),
        ({"kind": "hybird"}, "did you mean 'hybrid'"),
        ({"batch_size": 49}, "the largest batch_size that works is 48"),
        ({"temperature": 0.0}, "temperature"),
        ({"negatives_from": "both"}, "'passage' or 'query'"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
        ({"batch_size": 0}, r"divisible by the number of processes \(1\)"),
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


def train_rank(rank: int, world_size: int, folder: Path, port: int) -> None:
    token_tables._LARGE_TABLE = 1  # in another process there is no fixture
    if world_size > 1:
        become_rank(rank, world_size, port)
    options = {"ddp_backend": "gloo"} if world_size > 1 else {}
    args = make_args(
        folder / f"out{world_size}",
        learn_temperature=True,
        max_steps=8,
        max_grad_norm=0.0,
        **options,
    )
    trainer = HybridTrainer(make_model(), args, make_table(), Task())
    trainer.train()
    metrics = trainer.evaluate()
    record = {
        "rows": [trainer.sampler.batch(step).query_rows.tolist() for step in range(5)],
        "multi_map": metrics["eval_multi_map"],
        "embedding": trainer.encoder.encode_queries(["en question 3"]).tolist(),
        "temperature": trainer.model.loss.temperature.item(),
        "losses": [e["loss"] for e in trainer.state.log_history if "loss" in e],
    }
    (folder / f"record-{world_size}-{rank}.json").write_text(json.dumps(record))
    leave_process_group()


def test_two_ranks_partition_the_global_batch_and_train_as_one(tmp_path, free_port):
    train_rank(0, 1, tmp_path, free_port)
    mp.spawn(train_rank, args=(2, tmp_path, free_port), nprocs=2)
    one, first, second = (
        json.loads((tmp_path / f"record-{name}.json").read_text()) for name in ("1-0", "2-0", "2-1")
    )
    assert [a + b for a, b in zip(first["rows"], second["rows"], strict=True)] == one["rows"]
    assert first["multi_map"] == second["multi_map"]
    np.testing.assert_allclose(first["embedding"], second["embedding"], rtol=0)
    np.testing.assert_allclose(first["embedding"], one["embedding"], atol=2e-5)
    assert first["temperature"] == pytest.approx(one["temperature"], rel=1e-5)
