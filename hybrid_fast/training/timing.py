"""Where the time of training goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from transformers import TrainerCallback

# In the order of a step.
PARTS = (
    "data",
    "encoder forward",
    "waiting",
    "loss",
    "encoder backward",
    "communication",
    "optimiser",
)
COMPILATION = "compilation"  # a part too, of runs that compile


class StepTimer:
    """Adds up the seconds of each part of all steps of this process.

    Args:
        synchronize: synchronise the GPU after each part, so that its work counts where it belongs.

    Attributes:
        seconds: total of each part, those of `PARTS` and any others that were timed.
        num_updates: updates of the weights.
    """

    def __init__(self, synchronize: bool = False) -> None:
        self.synchronize = synchronize and torch.cuda.is_available()
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.num_updates = 0
        self._began: tuple[str, float] | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what runs within; the time of a nested part counts for that part only."""
        inner = sum(self.seconds.values())
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.synchronize:
                torch.cuda.synchronize()
            inner = sum(self.seconds.values()) - inner
            own = time.perf_counter() - start - inner
            self.seconds[name] = self.seconds.get(name, 0.0) + own

    def begin(self, name: str) -> None:
        """Begin a part that `end_update` ends."""
        self._began = name, time.perf_counter()

    def end_update(self) -> None:
        """Count an update of the weights and end the part begun last."""
        self.num_updates += 1
        if self._began is not None:
            if self.synchronize:
                torch.cuda.synchronize()
            name, start = self._began
            self.seconds[name] += time.perf_counter() - start
            self._began = None


class EndOfUpdate(TrainerCallback):
    """Tells the timer that the optimiser has done its step."""

    def __init__(self, timer: StepTimer) -> None:
        self.timer = timer

    def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
        """End the update."""
        self.timer.end_update()


class Throughput:
    """Counts of examples and tokens, and rates since they were last taken."""

    def __init__(self) -> None:
        self._counts = np.zeros(3)
        self._since = self._counts.copy()
        self.restart()

    def restart(self) -> None:
        """Start measuring rates anew."""
        self._since = self._counts.copy()
        self._start = time.perf_counter()

    def count(self, num_pairs: int, num_tokens: int, num_padded: int) -> None:
        """Count a batch: examples, and tokens embedded without and with padding."""
        self._counts += (num_pairs, num_tokens, num_padded)

    def take(self, device: torch.device) -> dict[str, float]:
        """Return the rates and start anew; all processes must call it together."""
        rates = self._rates(self._counts - self._since, time.perf_counter() - self._start, device)
        self.restart()
        return rates

    def of_run(self, seconds: float, device: torch.device) -> dict[str, float]:
        """Return the rates over the whole run; all processes must call it together."""
        return self._rates(self._counts, seconds, device)

    @staticmethod
    def _rates(
        counts: npt.NDArray[np.float64], seconds: float, device: torch.device
    ) -> dict[str, float]:
        summed = torch.from_numpy(counts.copy()).to(device)
        if dist.is_initialized():
            dist.all_reduce(summed)
        num_pairs, num_tokens, num_padded = summed.tolist()
        return {
            "pairs_per_second": round(num_pairs / seconds, 1),
            "tokens_per_second": round(num_tokens / seconds, 1),
            "padding_share": round(1 - num_tokens / max(num_padded, 1), 4),
        }
