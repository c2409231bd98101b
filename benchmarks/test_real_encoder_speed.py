"""A real encoder with its own dropout beside sentence-transformers: training, LoRA, encoding.

The folder of the encoder, one of the size of multilingual-e5-small, is named by the environment
variable HYBRID_FAST_REAL_ENCODER; texts are questions of TyDi QA with their passages, of at most
256 tokens. Ours and theirs train in turn, each by its own trainer, with the prompts of the encoder,
in bfloat16 where the processor multiplies it. Each run loads the encoder anew, and its first step,
on texts of two words, is not timed. That first losses are equal where dropout is off comes first.

Of sentence-transformers' cached loss this takes the mini-batch size that was best, 16, and the best
way that was found with code of one's own: 8 texts, in batches that a sampler sorts by length.
With `--full` also its default and others.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from real_texts import draw_tydi
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.sampler import DefaultBatchSampler
from side_by_side import side_by_side
from trainers import Pairs, Run, train_ours, train_theirs

from hybrid_fast.cpu import emulates
from hybrid_fast.models import BiEncoder

LONGEST = 256
SIZE, FULL_SIZE, ROUNDS = 96, 256, 2
ADAPTER = {"r": 16, "lora_alpha": 32, "target_modules": ["query", "key", "value", "dense"]}
ENCODING_S = 45


class SortedBatchSampler(DefaultBatchSampler):
    """Draws batches at random and sorts each by the length of its passages."""

    def __iter__(self):
        lengths = [len(passage) for passage in self.sampler["passage"]]
        rows = torch.randperm(len(lengths), generator=self.generator).tolist()
        for start in range(0, len(rows), self.batch_size):
            yield sorted(rows[start : start + self.batch_size], key=lambda row: -lengths[row])


# Settings of the cached loss, of the trainer, and of the model.
SORTED = {"batch_sampler": SortedBatchSampler}
THEIRS: dict[str, tuple[dict, dict, dict]] = {
    "cached 16": ({"mini_batch_size": 16}, {}, {}),
    "cached 8, sorted": ({"mini_batch_size": 8}, SORTED, {}),
    "cached 32 (default)": ({"mini_batch_size": 32}, {}, {}),
    "cached 8": ({"mini_batch_size": 8}, {}, {}),
    "cached 64": ({"mini_batch_size": 64}, {}, {}),
    "cached 2048 tokens": ({"mini_batch_size": 256, "mini_batch_num_tokens": 2048}, {}, {}),
    "cached 16, eager": ({"mini_batch_size": 16}, {}, {"attn_implementation": "eager"}),
    "cached 16, sorted": ({"mini_batch_size": 16}, SORTED, {}),
    "cached 2048 tokens, sorted": (
        {"mini_batch_size": 256, "mini_batch_num_tokens": 2048},
        SORTED,
        {},
    ),
}
NUM_BEST = 2


@pytest.fixture(scope="module")
def pairs(shared_data, full):
    return Pairs.of(*draw_tydi(shared_data, FULL_SIZE if full else SIZE))


def our_encoder(folder: str, **more: Any) -> BiEncoder:
    return BiEncoder.from_pretrained(
        folder, max_query_length=LONGEST, max_passage_length=LONGEST, **more
    )


def their_encoder(folder: str, **more: Any) -> SentenceTransformer:
    model = SentenceTransformer(folder, device="cpu", **more)
    model.max_seq_length = LONGEST
    return model


def their_prompts(model: SentenceTransformer) -> dict[str, str]:
    return {"query": model.prompts["query"], "passage": model.prompts["document"]}


def add_adapter(model: SentenceTransformer) -> SentenceTransformer:
    peft = pytest.importorskip("peft")
    model.add_adapter(peft.LoraConfig(**ADAPTER))
    return model


def run_theirs(name: str, folder: str, tmp_path, pairs: Pairs, lora: bool, bf16: bool) -> Run:
    cached, arguments, model_options = THEIRS[name]
    model = their_encoder(folder, model_kwargs=model_options)
    prompts = their_prompts(model)
    if lora:
        add_adapter(model)
    return train_theirs(tmp_path, pairs, model, cached, prompts=prompts, bf16=bf16, **arguments)


def run_ours(folder: str, tmp_path, pairs: Pairs, lora: bool, bf16: bool, details: dict) -> Run:
    more = {"adapter": ADAPTER} if lora else {}
    return train_ours(tmp_path, pairs, our_encoder(folder), details, bf16=bf16, **more)


def check_first_losses(folder: str, tmp_path, pairs: Pairs, lora: bool) -> None:
    """The gate: of some pairs, without dropout and in float32, the losses of both are equal."""
    few = pairs.first(16)
    more = {"adapter": ADAPTER} if lora else {}
    ours = train_ours(tmp_path / "ours", few, our_encoder(folder, dropout=0.0), {}, **more)
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = their_encoder(folder, config_kwargs=off)
    prompts = their_prompts(model)
    if lora:
        add_adapter(model)
    theirs = train_theirs(tmp_path / "theirs", few, model, {"mini_batch_size": 16}, prompts=prompts)
    assert ours.losses[0] == pytest.approx(theirs.losses[0], rel=1e-4)
    # By the second step adapters, which each draws for itself, have had an update.
    assert ours.losses[1] == pytest.approx(theirs.losses[1], rel=1e-2 if lora else 1e-4)


def in_turn(ways: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Return the runs of each way, of which one follows the other in each round."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(way())
    return runs


@pytest.mark.parametrize(("kind", "goal"), [("whole", 3), ("LoRA", 2.5)])
def test_step(benchmark, headline, full, tmp_path, real_encoder, pairs, kind, goal):
    lora, bf16 = kind == "LoRA", not emulates(torch.bfloat16)
    check_first_losses(real_encoder, tmp_path / "gate", pairs, lora)
    benchmark.extra_info["details"] = details = {}
    fixed = {"folder": real_encoder, "pairs": pairs, "lora": lora, "bf16": bf16}
    ways = {
        name: partial(run_theirs, name, tmp_path=tmp_path / name, **fixed)
        for name in (list(THEIRS) if full else list(THEIRS)[:NUM_BEST])
    }
    ways["ours"] = partial(run_ours, tmp_path=tmp_path / "ours", details=details, **fixed)
    runs = benchmark.pedantic(in_turn, [ways, ROUNDS], rounds=1)
    benchmark.extra_info["runs"] = {name: list(map(asdict, found)) for name, found in runs.items()}
    check_losses(runs)
    rates = {
        name: pairs.size / statistics.median(run.seconds for run in found)
        for name, found in runs.items()
    }
    precision = "bf16" if bf16 else "float32"
    headline(
        "real encoder", f"training step, {kind}, {precision}", "pairs/s", rates.pop("ours"),
        rates, dict.fromkeys(rates, goal),
        reduced="" if full else f"{SIZE} pairs a step instead of {FULL_SIZE}, best settings alone",
    )  # fmt: skip


def check_losses(runs: Mapping[str, list[Run]]) -> None:
    """The gate with dropout: each draws masks of its own, so losses are equal up to those."""
    first, *others = (run.losses for found in runs.values() for run in found)
    for losses in others:
        assert losses == pytest.approx(first, rel=0.1)


@pytest.mark.parametrize("side", ["query", "passage"])
def test_encoding(benchmark, headline, full, real_encoder, shared_data, side):
    queries, passages = draw_tydi(shared_data, 1024 if full else 256, seed=1)
    encoder, model = our_encoder(real_encoder), their_encoder(real_encoder)
    if side == "query":
        texts, ours, theirs = queries, encoder.encode_queries, model.encode_query
    else:
        texts, ours, theirs = passages, encoder.encode_passages, model.encode_document
    np.testing.assert_allclose(ours(texts[:32]), theirs(texts[:32]), atol=1e-5)
    theirs = partial(theirs, texts, show_progress_bar=False)
    ways = {
        "ours": partial(ours, texts),
        "SentenceTransformer, 32 (default)": theirs,
        "SentenceTransformer, 8": partial(theirs, batch_size=8),
    }
    seconds = side_by_side(benchmark, ways, ENCODING_S)
    rates = {name: len(texts) / found for name, found in seconds.items()}
    goals = dict(zip(list(ways)[1:], (1.5, 1.2), strict=True))
    kind = "questions" if side == "query" else "passages"
    headline(
        "real encoder", f"encoding {kind}, float32", "texts/s", rates.pop("ours"), rates, goals,
        reduced="" if full else "256 texts instead of 1024",
    )  # fmt: skip
