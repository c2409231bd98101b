"""Whole training steps of HybridTrainer beside sentence-transformers' trainer.

Same weights, pairs, batch and precision; all see the same 256 pairs in every step, so the first
losses are equal, which is checked. sentence-transformers' cached loss is run at each of its usual
mini-batch sizes, and its plain loss where the batch fits. A step is timed from the end of the one
before to its own end, the loading of data included.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from datasets import Dataset
from memory import PeakMemory
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from training_corpus import draw_texts, make_table, save_encoder
from transformers import TrainerCallback

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

BATCH_SIZE = 256
NUM_STEPS = 3  # of which the first is not timed
TEMPERATURE = 0.05
LENGTHS = {"long": (15, 60, 250, 0.8), "short": (20, 20, 64, 0.3)}  # means, most words, sigma
OURS = {
    "default": {},
    "second forward pass": {"cached_activation_tokens": 0},
}
THEIRS = {
    "cached 32 (default)": {"mini_batch_size": 32},
    "cached 4": {"mini_batch_size": 4},
    "cached 8": {"mini_batch_size": 8},
    "cached 16": {"mini_batch_size": 16},
    "cached 64": {"mini_batch_size": 64},
    "cached 2048 tokens": {"mini_batch_size": 256, "mini_batch_num_tokens": 2048},
    "plain": None,
}
first_losses: dict[tuple[str, str], float] = {}


class Clock(TrainerCallback):
    """Seconds of each step, and the loss of each."""

    def __init__(self):
        self.ends = []
        self.losses = []

    def on_step_end(self, args, state, control, **_):
        self.ends.append(time.perf_counter())

    def on_log(self, args, state, control, logs, **_):
        if "loss" in logs:
            self.losses.append(logs["loss"])

    @property
    def seconds(self):
        return [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """The shape of XLM-R, vocabulary included, 6 layers of 384."""
    folder = tmp_path_factory.mktemp("encoder")
    return save_encoder(folder, layers=6, width=384, vocab_size=250_002)


@pytest.fixture(scope="module")
def pairs():
    """The texts of one batch, by their lengths."""
    return {
        name: (
            draw_texts(BATCH_SIZE, query_mean, most, 0, sigma),
            draw_texts(BATCH_SIZE, passage_mean, most, 1, sigma),
        )
        for name, (query_mean, passage_mean, most, sigma) in LENGTHS.items()
    }


def options(folder, precision):
    """What both trainers are told."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH_SIZE,
        "max_steps": NUM_STEPS,
        "learning_rate": 1e-5,
        "bf16": precision == "bf16",
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def measure(benchmark, trainer, clock, lengths, precision):
    """Train once; compare the first loss with that of every trainer of the same texts."""
    with PeakMemory() as memory:
        benchmark.pedantic(trainer.train, rounds=1)
    key = lengths, precision
    expected = first_losses.setdefault(key, clock.losses[0])
    assert clock.losses[0] == pytest.approx(expected, rel=2e-2 if precision == "bf16" else 1e-4)
    seconds = statistics.median(clock.seconds)
    benchmark.group = f"{lengths} texts, {precision}"
    benchmark.extra_info |= {
        "seconds_a_step": round(seconds, 3),
        "pairs_per_second": round(BATCH_SIZE / seconds, 2),
        "peak_extra_mib": memory.extra_mib,
        "first_loss": clock.losses[0],
    }


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_hybrid_fast(benchmark, tmp_path, encoder_folder, pairs, precision, lengths, name):
    encoder = BiEncoder.from_pretrained(encoder_folder, query_prompt="", passage_prompt="")
    encoder.backbone.max_lengths = {"query": 256, "passage": 256}
    args = HybridTrainingArguments(
        kind="mono",
        temperature=TEMPERATURE,
        token_store=str(tmp_path / "tokens"),
        **options(tmp_path, precision),
        **OURS[name],
    )
    clock = Clock()
    table = make_table(*pairs[lengths])
    trainer = HybridTrainer(encoder, args, table, callbacks=[clock])
    measure(benchmark, trainer, clock, lengths, precision)
    benchmark.extra_info["padding_share"] = trainer.state.log_history[0]["padding_share"]
    benchmark.extra_info["seconds_by_part"] = {
        part: round(seconds / NUM_STEPS, 3) for part, seconds in trainer.timer.seconds.items()
    }


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_sentence_transformers(
    benchmark, tmp_path, encoder_folder, pairs, precision, lengths, name
):
    encoder = BiEncoder.from_pretrained(encoder_folder, query_prompt="", passage_prompt="")
    encoder.backbone.max_lengths = {"query": 256, "passage": 256}
    encoder.save_pretrained(tmp_path / "encoder")
    model = SentenceTransformer(str(tmp_path / "encoder"), device="cpu")
    cached = THEIRS[name]
    if cached is None:
        loss = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    else:
        loss = CachedMultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE, **cached)
    queries, passages = pairs[lengths]
    clock = Clock()
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**options(tmp_path, precision)),
        train_dataset=Dataset.from_dict({"query": queries, "passage": passages}),
        loss=loss,
        callbacks=[clock],
    )
    measure(benchmark, trainer, clock, lengths, precision)
    assert torch.isfinite(torch.tensor(clock.losses)).all()
