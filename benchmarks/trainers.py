"""Trainings of ours and of sentence-transformers that see the same texts, and clocks of steps."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hybrid_fast.training import HybridTrainer


class Clock(TrainerCallback):
    """Seconds of each step but the first, from the end of the one before, and the loss of each.

    So the loading of data is part of a step.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args, state, control, **_) -> None:
        self.ends.append(time.perf_counter())

    def on_log(self, args, state, control, logs, **_) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])

    @property
    def seconds(self) -> list[float]:
        return [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


class FindBudgetAgain(TrainerCallback):
    """Lets ours find its token budget in the second step, whose texts are not the first one's."""

    def __init__(self) -> None:
        self.trainer: HybridTrainer | None = None

    def on_step_end(self, args, state, control, **_) -> None:
        assert self.trainer is not None
        if state.global_step == 1:
            self.trainer.cached_step.budget = None


def options(folder: Path, batch_size: int, num_steps: int, **more: Any) -> dict[str, Any]:
    """What both trainers are told."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch_size,
        "max_steps": num_steps,
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    } | more
