"""Training a real encoder: the losses and gradients of sentence-transformers, and retrieval.

See tests/models/test_real_encoder.py.
"""

import numpy as np
import pytest
import torch
from adapted_models import add_by_peer, peft
from datasets import Dataset
from real_texts import draw_tydi
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from transformers import TrainerCallback

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

pytestmark = pytest.mark.slow

LONGEST, NUM_PAIRS, NUM_STEPS = 64, 8, 3
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(scope="module")
def tydi(shared_data):
    """Questions in English, Korean and Swahili and their passages; no text comes twice."""
    return draw_tydi(shared_data, 240)


class Watch(TrainerCallback):
    """Keeps the losses, and the gradients of the first update by the transformer's own names."""

    def __init__(self):
        self.losses, self.gradients = [], {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        if state.global_step == 0:
            self.gradients = {
                own_name(name): weight.grad.to_dense().clone()
                for name, weight in model.named_parameters()
                if weight.grad is not None
            }

    def on_log(self, args, state, control, logs, **_):
        if "loss" in logs:
            self.losses.append(logs["loss"])


def own_name(name: str) -> str:
    for outer in ("encoder.backbone.model.", "backbone.model.", "0.auto_model.", "0.model."):
        name = name.removeprefix(outer)
    return name


def options(folder, **more):
    return {
        "output_dir": str(folder),
        "learning_rate": 2e-5,
        "lr_scheduler_type": "constant",
        "max_steps": NUM_STEPS,
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    } | more


def make_table(queries, passages):
    rows = [str(row) for row in range(len(queries))]
    return AlignedTable.from_columns(
        {"group_id": rows, "lang": ["en"] * len(rows), "query": queries, "passage": passages}
    )


def train_ours(encoder, folder, queries, passages, **more):
    args = HybridTrainingArguments(
        kind="mono", temperature=0.05, micro_batch_tokens=256,
        **(options(folder, batch_size=len(queries)) | more),
    )  # fmt: skip
    watch = Watch()
    HybridTrainer(encoder, args, make_table(queries, passages), callbacks=[watch]).train()
    return watch


def train_theirs(model, folder, queries, passages, **more):
    prompts = {"query": model.prompts["query"], "passage": model.prompts["document"]}
    watch = Watch()
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            prompts=prompts, **(options(folder, per_device_train_batch_size=len(queries)) | more)
        ),
        train_dataset=Dataset.from_dict({"query": queries, "passage": passages}),
        loss=CachedMultipleNegativesRankingLoss(model, scale=20.0, mini_batch_size=3),
        callbacks=[watch],
    ).train()
    return watch


def our_encoder(folder):
    return BiEncoder.from_pretrained(
        folder, max_query_length=LONGEST, max_passage_length=LONGEST, dropout=0.0
    )


def their_encoder(folder):
    model = SentenceTransformer(folder, device="cpu", config_kwargs=dict(NO_DROPOUT))
    model.max_seq_length = LONGEST
    return model


def check_gradients(ours, theirs, tolerance):
    """Compare each to its own size and a hundredth of all: some, as of biases of keys, are 0."""
    assert ours.keys() == theirs.keys()
    whole = torch.stack([gradient.norm() for gradient in theirs.values()]).norm()
    for name, expected in theirs.items():
        error = (ours[name] - expected).norm()
        assert error <= tolerance * (expected.norm() + whole / 100), name


@pytest.mark.parametrize(
    ("bf16", "of_losses", "of_gradients"), [(False, 1e-4, 1e-3), (True, 2e-2, 0.2)]
)
def test_losses_and_gradients_are_those_of_sentence_transformers(
    real_encoder, tydi, tmp_path, bf16, of_losses, of_gradients
):
    texts = [side[:NUM_PAIRS] for side in tydi]
    ours = train_ours(our_encoder(real_encoder), tmp_path / "ours", *texts, bf16=bf16)
    theirs = train_theirs(their_encoder(real_encoder), tmp_path / "theirs", *texts, bf16=bf16)
    assert len(ours.losses) == NUM_STEPS
    assert ours.losses == pytest.approx(theirs.losses, rel=of_losses)
    assert ours.losses[-1] < ours.losses[0]
    check_gradients(ours.gradients, theirs.gradients, of_gradients)


def test_adapters_are_trained_as_there_and_merged_when_saved(real_encoder, tydi, tmp_path):
    options = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value"]}
    texts = [side[:NUM_PAIRS] for side in tydi]
    ours, theirs = our_encoder(real_encoder), their_encoder(real_encoder)
    ours.add_adapter(options)
    add_by_peer(theirs, peft.LoraConfig(**options))
    drawn = {own_name(name): weight for name, weight in ours.named_parameters()}
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "lora_" in name:
                weight.copy_(drawn[own_name(name)])
    found = train_ours(ours, tmp_path / "ours", *texts, learning_rate=1e-3)
    expected = train_theirs(theirs, tmp_path / "theirs", *texts, learning_rate=1e-3)
    assert found.losses == pytest.approx(expected.losses, rel=1e-3)
    assert all("lora_" in name for name in found.gradients)
    check_gradients(found.gradients, expected.gradients, 1e-3)
    ours.save_pretrained(tmp_path / "merged")
    merged = SentenceTransformer(str(tmp_path / "merged"), device="cpu")
    queries = ours.encode_queries(texts[0])
    np.testing.assert_allclose(merged.encode_query(texts[0]), queries, atol=1e-5)
    assert np.abs(our_encoder(real_encoder).encode_queries(texts[0]) - queries).max() > 1e-3


def accuracy(encoder, queries, passages):
    """Share of queries whose own passage is the nearest."""
    scores = encoder.encode_queries(queries) @ encoder.encode_passages(passages).T
    return (scores.argmax(axis=1) == np.arange(len(queries))).mean()


def test_twenty_steps_lower_the_loss_and_keep_retrieval(real_encoder, tydi, tmp_path):
    encoder = BiEncoder.from_pretrained(
        real_encoder, max_query_length=LONGEST, max_passage_length=LONGEST
    )
    train, held_out = ([side[part] for side in tydi] for part in (slice(80, 240), slice(80)))
    before = accuracy(encoder, *held_out)
    args = HybridTrainingArguments(
        kind="mono", temperature=0.05, **options(tmp_path, batch_size=8, max_steps=20)
    )
    watch = Watch()
    HybridTrainer(encoder, args, make_table(*train), callbacks=[watch]).train()
    assert np.mean(watch.losses[-5:]) < 0.8 * np.mean(watch.losses[:5])
    assert accuracy(encoder, *held_out) >= before - 0.03
