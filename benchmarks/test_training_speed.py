"""Whole training steps of HybridTrainer beside sentence-transformers' trainer.

Same weights, pairs, batch and precision. The first batch is of texts of two words and not timed;
the second one is, from the end of the first to its own end. All see the same pairs in both, so
without dropout their losses are equal, which is checked. With dropout, as real encoders have it,
each draws masks of its own: that ours draws the same ones in both forward passes is checked first.
sentence-transformers' cached loss is run at its default and at the mini-batch size that was best,
with `--full` at each of its usual ones, and its plain loss.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sentence_transformers import SentenceTransformer
from trainers import TEXTS, Pairs, Run, train_ours, train_theirs
from training_corpus import draw_texts

from hybrid_fast.cpu import emulates
from hybrid_fast.models import BiEncoder
from hybrid_fast.ops import info_nce
from hybrid_fast.training.gradient_cache import GradientCache, MicroBatch
from hybrid_fast.training.steps import has_dropout

LENGTHS = {"long": (15, 60, 250, 0.8), "short": (20, 20, 64, 0.3)}  # means, most words, sigma
OURS = {"ours": {}, "ours, nothing cached": {"cached_activation_tokens": 0}}
DEFAULT, PLAIN = "cached 32 (default)", "plain"
THEIRS = {
    DEFAULT: {"mini_batch_size": 32},
    "cached 4": {"mini_batch_size": 4},
    "cached 8": {"mini_batch_size": 8},
    "cached 16": {"mini_batch_size": 16},
    "cached 64": {"mini_batch_size": 64},
    "cached 2048 tokens": {"mini_batch_size": 256, "mini_batch_num_tokens": 2048},
    PLAIN: None,
}
# Beside the default, what is run without `--full`: the best settings and, where the batch is short
# or float32, the plain loss, which takes longest.
BEST = {
    ("float32", "long", 0.0): ("cached 8", PLAIN),
    ("bf16", "long", 0.0): ("cached 64",),
    ("float32", "short", 0.0): (PLAIN,),
    ("bf16", "short", 0.0): ("cached 64", PLAIN),
    ("float32", "long", 0.1): ("cached 8",),
}
CASES = [
    pytest.param(*case, marks=() if case in BEST else pytest.mark.full)
    for dropout in (0.0, 0.1)
    for lengths in LENGTHS
    for precision in ("float32", "bf16")
    for case in [(precision, lengths, dropout)]
]
TOLERANCES = {"float32": 1e-4, "bf16": 2e-2}


def draw_pairs(size: int, lengths: str) -> Pairs:
    query_mean, passage_mean, most, sigma = LENGTHS[lengths]
    return Pairs.of(
        draw_texts(size, query_mean, most, 0, sigma), draw_texts(size, passage_mean, most, 1, sigma)
    )


def check_masks_are_replayed(encoder_folder, pairs):
    """The gate with dropout: the gradient is that of the same micro-batches in one graph."""
    encoder = BiEncoder.from_pretrained(encoder_folder)
    encoder.train()
    assert has_dropout(encoder)
    num_queries = 6
    texts = pairs.queries[TEXTS][:num_queries] + pairs.passages[TEXTS][:num_queries]
    micro_batches = []
    for rows in torch.arange(len(texts)).split(5):
        features = encoder.tokenize([texts[row] for row in rows], "passage")
        micro_batches.append(MicroBatch(rows, features, features["input_ids"].numel()))

    def gradients(embed: Callable[[], tuple[torch.Tensor, Callable[[], None]]]):
        encoder.zero_grad()
        embeddings, finish = embed()
        info_nce(embeddings[:num_queries], embeddings[num_queries:]).backward()
        finish()
        return [weight.grad for weight in encoder.parameters() if weight.grad is not None]

    def in_one_graph():
        outputs = []
        for index, micro_batch in enumerate(micro_batches):
            torch.manual_seed(5 + index)
            outputs.append(encoder(micro_batch.features))
        return torch.cat(outputs), lambda: None

    def cached():
        cache = GradientCache(encoder)
        embedded = cache.embed(micro_batches, max_cached_tokens=0, seed=5)
        return embedded.embeddings, lambda: cache.back_propagate(embedded)

    expected = gradients(in_one_graph)
    for found, truth in zip(gradients(cached), expected, strict=True):
        assert (found - truth).norm() <= 1e-5 * truth.norm().clamp(min=1e-6)


def check_losses(runs: dict[str, Run], precision: str, dropout: float) -> None:
    """The gate of all: losses are equal, with dropout up to its masks."""
    tolerance = 0.1 if dropout else TOLERANCES[precision]
    first, *others = runs.values()
    for run in others:
        assert run.losses == pytest.approx(first.losses, rel=tolerance)


@pytest.mark.parametrize(("precision", "lengths", "dropout"), CASES)
def test_step(benchmark, headline, full, tmp_path, encoder_folders, precision, lengths, dropout):
    if precision == "bf16" and emulates(torch.bfloat16) and not full:
        pytest.skip("this processor emulates bfloat16, so that a step takes minutes")
    pairs = draw_pairs(256 if full else 96, lengths)
    folder = encoder_folders[dropout]
    if dropout:
        check_masks_are_replayed(folder, pairs)
    bf16 = precision == "bf16"
    names = list(THEIRS) if full else [DEFAULT, *BEST[precision, lengths, dropout]]
    theirs = {
        name: train_theirs(
            tmp_path / name,
            pairs,
            SentenceTransformer(folder, device="cpu"),
            THEIRS[name],
            bf16=bf16,
        )
        for name in names
    }
    benchmark.extra_info["details"] = details = {name: {} for name in OURS}

    def run_ours(name: str) -> Run:
        encoder = BiEncoder.from_pretrained(folder)
        return train_ours(tmp_path / name, pairs, encoder, details[name], bf16=bf16, **OURS[name])

    ours = {"ours": benchmark.pedantic(run_ours, ["ours"], rounds=1)}
    if full:
        ours |= {name: run_ours(name) for name in OURS if name != "ours"}
    check_losses(ours | theirs, precision, dropout)
    benchmark.extra_info["runs"] = {name: vars(run) for name, run in (ours | theirs).items()}
    case = f"{lengths} texts, {precision}{f', dropout {dropout}' if dropout else ''}"
    report(headline, case, ours, theirs, pairs.size, full)


def report(headline, case, ours, theirs, size, full):
    """Give pairs a second; a goal higher over the default of the cached loss than over its best."""
    short = "short" in case
    rates = {name: size / run.seconds for name, run in (ours | theirs).items()}
    cached = [name for name in theirs if name != PLAIN]
    best = max(cached, key=rates.get)
    goals = {DEFAULT: 1.3 if short else 3 if "bf16" in case else 3.5, PLAIN: 1.3 if short else 2}
    if best != DEFAULT:
        goals[best] = 1.3 if short else 2.5
    reduced = f"{size} pairs a step instead of 256, the cached loss at its default and at its best"
    for name in ours:
        headline(
            "training", f"{case}{name.removeprefix('ours')}", "pairs/s", rates[name],
            {name: rates[name] for name in theirs},
            {name: goal for name, goal in goals.items() if name in theirs},
            reduced="" if full else reduced,
        )  # fmt: skip
