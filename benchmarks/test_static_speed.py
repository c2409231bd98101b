"""Static encoders at batch 8192: HybridTrainer beside sentence-transformers' recipe.

Same initial vectors, pairs and batch size. sentence-transformers trains its StaticEmbedding with
MultipleNegativesRankingLoss, as its blog on static embeddings does. Its batches are drawn in its
own order, so what is compared first is the loss of one fixed batch. A step is timed from the end of
the one before. With `--full` also one whole epoch of a million pairs.
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
from trainers import Clock, options
from training_corpus import draw_texts, make_table

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.static import StaticBackbone
from hybrid_fast.ops import info_nce
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

BATCH_SIZE = 8192
NUM_PAIRS = 1_000_000
NUM_STEPS = 5  # --full: 8
DIM, TEMPERATURE = 384, 0.05
VOCABULARIES = {"of XLM-R": 250_002, "of the texts": None}
OURS = {
    "float32": {},
    "bf16 loss": {"loss_precision": "bf16"},
}


@pytest.fixture(scope="module")
def num_steps(full):
    return 8 if full else NUM_STEPS


@pytest.fixture(scope="module")
def pairs(full, num_steps):
    """Short sentences; half of a passage's words are those of its query."""
    num_pairs = NUM_PAIRS if full else BATCH_SIZE * num_steps
    queries = draw_texts(num_pairs, 8, 20, 0, sigma=0.4)
    others = draw_texts(num_pairs, 5, 12, 1, sigma=0.4)
    return queries, [f"{q} {p}" for q, p in zip(queries, others, strict=True)]


@pytest.fixture(scope="module")
def own_encoder(pairs):
    """One whose vocabulary is that of the texts."""
    return BiEncoder.static(pairs[1][:100_000], dim=DIM, vocab_size=60_000)


@pytest.fixture(
    scope="module",
    params=["of XLM-R", pytest.param("of the texts", marks=pytest.mark.full)],
)
def encoder_folder(request, own_encoder, tmp_path_factory):
    """An encoder with that vocabulary, or with one of which the texts have a part."""
    weights = own_encoder.backbone.embedding.weight.detach()
    size = VOCABULARIES[request.param]
    if size is not None:
        more = torch.randn(size - len(weights), DIM) / DIM**0.5
        weights = torch.cat([weights, more])
    backbone = StaticBackbone(own_encoder.backbone.tokenizer, weights)
    folder = tmp_path_factory.mktemp("static")
    BiEncoder(backbone).save_pretrained(folder)
    return str(folder)


def train_ours(folder, pairs, encoder_folder, num_steps, more):
    clock = Clock()
    args = HybridTrainingArguments(
        kind="mono",
        temperature=TEMPERATURE,
        token_store=str(folder),
        **options(folder, BATCH_SIZE, num_steps, learning_rate=2e-2),
        **more,
    )
    encoder = BiEncoder.from_pretrained(encoder_folder)
    HybridTrainer(encoder, args, make_table(*pairs), callbacks=[clock]).train()
    return clock


def train_theirs(folder, pairs, encoder_folder, num_steps):
    clock = Clock()
    queries, passages = pairs
    model = SentenceTransformer(encoder_folder, device="cpu")
    loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    check_equality(loss, model, encoder_folder, queries[:256], passages[:256])
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            **options(folder, BATCH_SIZE, num_steps, learning_rate=2e-2)
        ),
        train_dataset=Dataset.from_dict({"query": queries, "passage": passages}),
        loss=loss,
        callbacks=[clock],
    ).train()
    return clock


@torch.no_grad()
def check_equality(loss, model, encoder_folder, queries, passages):
    """Both compute the same loss for one batch."""
    theirs = loss([model.preprocess(list(column)) for column in (queries, passages)], None)
    encoder = BiEncoder.from_pretrained(encoder_folder)
    vectors = encoder.encode_queries(queries), encoder.encode_passages(passages)
    ours = info_nce(*map(torch.from_numpy, vectors), temperature=TEMPERATURE)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_step(benchmark, headline, full, pairs, encoder_folder, tmp_path, num_steps, request):
    some = tuple(column[: BATCH_SIZE * num_steps] for column in pairs)
    clocks = {"theirs": train_theirs(tmp_path / "theirs", some, encoder_folder, num_steps)}
    for name, more in OURS.items():
        arguments = tmp_path / name, some, encoder_folder, num_steps, more
        last = name == list(OURS)[-1]
        clocks[name] = (
            benchmark.pedantic(train_ours, arguments, rounds=1) if last else train_ours(*arguments)
        )
    firsts = [clock.losses[0] for clock in clocks.values()]
    assert max(firsts) < 1.1 * min(firsts)  # other batches of one corpus
    rates = {name: BATCH_SIZE / clock.median_s for name, clock in clocks.items()}
    benchmark.extra_info["losses"] = {name: clock.losses for name, clock in clocks.items()}
    vocabulary = request.node.callspec.params["encoder_folder"]
    baselines = {"sentence-transformers": rates.pop("theirs")}
    reduced = f"{num_steps} steps instead of 8, and the larger vocabulary alone"
    for name, rate in rates.items():
        headline(
            "static encoder", f"vocabulary {vocabulary}, {name}", "pairs/s", rate, baselines,
            {"sentence-transformers": 5},
            reduced="" if full else reduced,
        )  # fmt: skip


@pytest.mark.full
def test_an_epoch_of_a_million_pairs(benchmark, headline, pairs, encoder_folder, tmp_path):
    num_steps = NUM_PAIRS // BATCH_SIZE
    arguments = tmp_path, pairs, encoder_folder, num_steps, OURS["bf16 loss"]
    clock = benchmark.pedantic(train_ours, arguments, rounds=1)
    assert clock.losses[-1] < clock.losses[0]
    rates = [
        BATCH_SIZE / statistics.median(times) for times in (clock.seconds, clock.seconds[-20:])
    ]
    headline("static encoder", "an epoch of a million pairs, bf16 loss", "pairs/s", rates[0])
    # Tokens wait longer then, and owe more updates.
    headline("static encoder", "its last 20 steps", "pairs/s", rates[1])
