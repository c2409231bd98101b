"""One training run of the GPU check, in this process; writes what it found after every step.

    python -m gpu.training_run SPECIFICATION

The specification is JSON: the fields of `training.Run`, `arguments` of the trainer, whether `cudnn`
attends (null: as the library decides), whether the run is `tiny`, a `folder` for encoders and
tokens, which later runs find there, and the file `out`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from cuda_timing import Gpu, ProcessorStandIn
from loss_ways import TEMPERATURE
from training_corpus import LONGEST, draw_texts, make_table, save_encoder
from transformers import TrainerCallback

from gpu.profiles import profiler, rows_of, shown
from gpu.training import MEAN_WORDS, MINI_BATCH, MOST_WORDS, OURS
from hybrid_fast.models import BiEncoder

LAYERS, WIDTH, VOCABULARY, HEAD = 12, 768, 250_002, 64  # XLM-R-base
TINY = {"layers": 2, "width": 64, "vocab_size": 20_010, "head": 32}
TINY_BATCH = 512  # as many times fewer pairs
LEARNING_RATE = 1e-5


class Run:
    """A run and what it has found so far."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = SimpleNamespace(**given)
        self.device = ProcessorStandIn() if self.given.tiny else Gpu()
        self.batch = self.given.batch // (TINY_BATCH if self.given.tiny else 1)
        self.folder = Path(self.given.folder)
        self.found: dict[str, Any] = {"way": self.given.way, "batch": self.batch}
        self.clock = Clock(self)

    @cached_property
    def texts(self) -> tuple[list[str], list[str]]:
        """Queries and passages of two batches, or of one where these are large."""
        size = self.batch * (1 if self.batch > 16_384 else 2)
        queries, passages = (
            draw_texts(size, MEAN_WORDS[side], MOST_WORDS, seed)
            for seed, side in enumerate(("query", "passage"))
        )
        return queries, passages

    @cached_property
    def shape(self) -> dict[str, int]:
        if self.given.tiny:
            return TINY
        return {"layers": LAYERS, "width": WIDTH, "vocab_size": VOCABULARY, "head": HEAD}

    def encoder_folder(self) -> Path:
        """Return the folder of the encoder, which the first run of its dropout makes."""
        folder = self.folder / f"encoder-{self.given.dropout:g}"
        if not (folder / "config.json").exists():
            raw = self.folder / "raw"
            save_encoder(raw, **self.shape, dropout=self.given.dropout)
            encoder = BiEncoder.from_pretrained(raw, query_prompt="", passage_prompt="")
            encoder.backbone.max_lengths = {"query": LONGEST, "passage": LONGEST}
            encoder.save_pretrained(folder)
        return folder

    def options(self) -> dict[str, Any]:
        """Return what both trainers are told."""
        return {
            "output_dir": str(self.folder / "runs"),
            "per_device_train_batch_size": self.batch,
            "max_steps": self.given.steps,
            "learning_rate": LEARNING_RATE,
            "bf16": True,
            "use_cpu": self.device.type == "cpu",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        } | self.given.arguments

    def train(self) -> None:
        """Train and write what was found."""
        if self.given.cudnn is not None:
            hold_cudnn(self.given.cudnn)
        begin = time.perf_counter()
        trainer = self.our_trainer() if self.given.way in OURS else self.their_trainer()
        self.found["setup_s"] = time.perf_counter() - begin
        self.device.reset_peak()
        trainer.train()
        if self.given.way in OURS:
            self.add_ours(trainer)
        self.write()

    def our_trainer(self) -> Any:
        from hybrid_fast.training import HybridTrainer, HybridTrainingArguments

        encoder = BiEncoder.from_pretrained(self.encoder_folder())
        self.add_arithmetic(encoder)
        args = HybridTrainingArguments(
            kind="mono",
            temperature=TEMPERATURE,
            token_store=str(self.folder / "tokens"),
            **self.options(),
        )
        return HybridTrainer(encoder, args, make_table(*self.texts), callbacks=[self.clock])

    def their_trainer(self) -> Any:
        from datasets import Dataset
        from sentence_transformers import (
            SentenceTransformer,
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from sentence_transformers.sentence_transformer.losses import (
            CachedMultipleNegativesRankingLoss,
        )

        model = SentenceTransformer(str(self.encoder_folder()), device=self.device.type)
        self.add_arithmetic(model)
        queries, passages = self.texts
        return SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(**self.options()),
            train_dataset=Dataset.from_dict({"query": queries, "passage": passages}),
            loss=CachedMultipleNegativesRankingLoss(
                model, scale=1 / TEMPERATURE, mini_batch_size=MINI_BATCH
            ),
            callbacks=[self.clock],
        )

    def add_arithmetic(self, model: torch.nn.Module) -> None:
        """Add tokens of a step, and FLOP of forward and backward on them, padding left out.

        6 a weight and token, and 12 a layer, dimension and pair of tokens of a text; weights of the
        embeddings are looked up, not multiplied.
        """
        lengths = [len(text.split()) + 2 for texts in self.texts for text in texts]
        share = self.batch / len(self.texts[0])
        weights = sum(
            weight.numel()
            for name, weight in model.named_parameters()
            if "embeddings" not in name and "pooler" not in name
        )
        tokens, pairs = sum(lengths) * share, sum(length**2 for length in lengths) * share
        of_attention = 12 * self.shape["layers"] * self.shape["width"] * pairs
        self.found |= {
            "tokens": round(tokens),
            "flop": 6 * weights * tokens + of_attention,
        }

    def add_ours(self, trainer: Any) -> None:
        """Add what only our trainer knows: token limits, padding, graphs kept, how the loss ran."""
        step = trainer.cached_step
        self.found |= {
            "budget": {"micro_batch": step.budget.micro_batch, "cached": step.budget.cached},
            "kept_share": min(step.budget.cached / step.num_padded, 1.0),
            "padding_share": trainer.state.log_history[0]["padding_share"],
            "loss_precision": step.model.loss.options.get("precision") or "float32",
            "seconds_by_part": dict(trainer.timer.seconds),
            "compile_s": trainer.timer.seconds.get("compilation", self.found["compile_s"]),
        }

    def add_steps(self, seconds: list[float], losses: list[float]) -> None:
        """Add what steps took so far; the first of several does not count."""
        median_s = statistics.median(seconds[1:] or seconds)
        self.found |= {
            "steps_s": seconds,
            "first_s": seconds[0],
            "median_s": median_s,
            "losses": losses,
            "pairs_per_s": self.batch / median_s,
            "tokens_per_s": self.found["tokens"] / median_s,
            "flop_per_s": self.found["flop"] / median_s,
            "peak_gib": self.device.peak_bytes() / 2**30,
            "compile_s": compile_seconds(),
        }
        self.write()

    def write(self) -> None:
        beside = Path(self.given.out).with_suffix(".partial")
        beside.write_text(json.dumps(self.found), encoding="utf-8")
        beside.replace(self.given.out)


class Clock(TrainerCallback):
    """Seconds of each step, from its first micro-batch until the device is done, and losses."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seconds: list[float] = []
        self._losses: list[float] = []
        self._profiled: Any = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._run.device.synchronize()
        if self._run.given.profiled and state.global_step == self._run.given.steps - 1:
            self._profiled = profiler(self._run.device)
            self._profiled.__enter__()
        self._begin = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._run.device.synchronize()
        self._seconds.append(time.perf_counter() - self._begin)
        if self._profiled is not None:
            self._profiled.__exit__(None, None, None)
            self._run.found["profile"] = shown(rows_of(self._run.device, self._profiled, 1))
        self._run.add_steps(self._seconds, self._losses)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self._losses.append(logs["loss"])


def hold_cudnn(enabled: bool) -> None:
    """Let torch attend with or without cuDNN, whatever the library asks for later."""
    switch = torch.backends.cuda
    switch.enable_cudnn_sdp(enabled)
    switch.enable_cudnn_sdp = lambda enabled: None  # of this process, which ends with the run


def compile_seconds() -> float | None:
    """Return how long torch.compile took in this process, as torch counts it."""
    with suppress(ImportError, AttributeError, KeyError):
        from torch._dynamo.utils import calculate_time_spent

        return calculate_time_spent().get("total_wall_time", 0.0)
    return None


if __name__ == "__main__":
    Run(json.loads(sys.argv[1])).train()
