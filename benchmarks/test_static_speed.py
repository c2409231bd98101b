"""Static encoders at batch 8192: HybridTrainer beside sentence-transformers' recipe.

Same initial vectors, pairs and batch size. sentence-transformers trains its StaticEmbedding with
MultipleNegativesRankingLoss, as its blog on static embeddings does. Its batches are drawn in its
own order, so what is compared first is the loss of one fixed batch. A step is timed from the end of
the one before; the last test is one whole epoch of a million pairs.
"""

from __future__ import annotations

import statistics

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from test_training_speed import Clock
from training_corpus import draw_texts, make_table

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.static import StaticBackbone
from hybrid_fast.ops import info_nce
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

BATCH_SIZE = 8192
NUM_PAIRS = 1_000_000
NUM_STEPS = 8
DIM, TEMPERATURE = 384, 0.05
VOCABULARIES = [None, 250_002]  # the texts' own, that of XLM-R
first_losses: list[float] = []
OURS = {
    "default": {},
    "bf16 loss": {"loss_precision": "bf16"},
}


@pytest.fixture(scope="module")
def pairs():
    """A million of short sentences; half of a passage's words are those of its query."""
    queries = draw_texts(NUM_PAIRS, 8, 20, 0, sigma=0.4)
    others = draw_texts(NUM_PAIRS, 5, 12, 1, sigma=0.4)
    return queries, [f"{q} {p}" for q, p in zip(queries, others, strict=True)]


@pytest.fixture(scope="module")
def own_encoder(pairs):
    """One whose vocabulary is that of the texts."""
    return BiEncoder.static(pairs[1][:100_000], dim=DIM, vocab_size=60_000)


@pytest.fixture(scope="module", params=VOCABULARIES)
def encoder_folder(request, own_encoder, tmp_path_factory):
    """An encoder with that vocabulary, or with one of which the texts have a part."""
    weights = own_encoder.backbone.embedding.weight.detach()
    if request.param is not None:
        more = torch.randn(request.param - len(weights), DIM) / DIM**0.5
        weights = torch.cat([weights, more])
    backbone = StaticBackbone(own_encoder.backbone.tokenizer, weights)
    folder = tmp_path_factory.mktemp("static")
    BiEncoder(backbone).save_pretrained(folder)
    return str(folder)


def options(folder, num_steps):
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH_SIZE,
        "max_steps": num_steps,
        "learning_rate": 2e-2,
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def record(benchmark, clock, num_steps):
    seconds = statistics.median(clock.seconds)
    benchmark.group = "static encoder, batch 8192"
    benchmark.extra_info |= {
        "seconds_a_step": round(seconds, 4),
        "pairs_per_second": round(BATCH_SIZE / seconds),
        "losses": [round(loss, 4) for loss in (clock.losses[0], clock.losses[-1])],
        "steps": num_steps,
    }
    first_losses.append(clock.losses[0])
    assert max(first_losses) < 1.1 * min(first_losses)  # other batches of one corpus


def make_ours(pairs, encoder_folder, tmp_path, clock, num_steps, name):
    args = HybridTrainingArguments(
        kind="mono", temperature=TEMPERATURE, token_store=str(tmp_path),
        **options(tmp_path, num_steps), **OURS[name],
    )  # fmt: skip
    encoder = BiEncoder.from_pretrained(encoder_folder)
    return HybridTrainer(encoder, args, make_table(*pairs), callbacks=[clock])


@torch.no_grad()
def check_equality(loss, model, encoder_folder, queries, passages):
    """Both compute the same loss for one batch."""
    theirs = loss([model.preprocess(list(column)) for column in (queries, passages)], None)
    encoder = BiEncoder.from_pretrained(encoder_folder)
    vectors = encoder.encode_queries(queries), encoder.encode_passages(passages)
    ours = info_nce(*map(torch.from_numpy, vectors), temperature=TEMPERATURE)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OURS)
def test_hybrid_fast(benchmark, pairs, encoder_folder, tmp_path, name):
    clock = Clock()
    some = tuple(column[: BATCH_SIZE * NUM_STEPS] for column in pairs)
    trainer = make_ours(some, encoder_folder, tmp_path, clock, NUM_STEPS, name)
    benchmark.pedantic(trainer.train, rounds=1)
    record(benchmark, clock, NUM_STEPS)
    benchmark.extra_info["seconds_by_part"] = {
        part: round(seconds / NUM_STEPS, 4) for part, seconds in trainer.timer.seconds.items()
    }


def test_sentence_transformers(benchmark, pairs, encoder_folder, tmp_path):
    clock = Clock()
    queries, passages = (column[: BATCH_SIZE * NUM_STEPS] for column in pairs)
    model = SentenceTransformer(encoder_folder, device="cpu")
    loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    check_equality(loss, model, encoder_folder, queries[:256], passages[:256])
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**options(tmp_path, NUM_STEPS)),
        train_dataset=Dataset.from_dict({"query": queries, "passage": passages}),
        loss=loss,
        callbacks=[clock],
    )
    benchmark.pedantic(trainer.train, rounds=1)
    record(benchmark, clock, NUM_STEPS)


@pytest.mark.parametrize("name", ["bf16 loss"])
def test_an_epoch_of_a_million_pairs(benchmark, pairs, encoder_folder, tmp_path, name):
    clock = Clock()
    num_steps = NUM_PAIRS // BATCH_SIZE
    trainer = make_ours(pairs, encoder_folder, tmp_path, clock, num_steps, name)
    benchmark.pedantic(trainer.train, rounds=1)
    record(benchmark, clock, num_steps)
    # Tokens wait longer then, and owe more updates.
    benchmark.extra_info["seconds_of_last_steps"] = round(statistics.median(clock.seconds[-20:]), 4)
    assert clock.losses[-1] < clock.losses[0]
