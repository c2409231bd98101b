"""Ending training with a checkpoint on SIGTERM, which batch systems send, and ending all ranks."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl

from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.collectives import awaited_by_all, num_ranks

logger = logging.getLogger(__name__)
_GRACE_SECONDS = 0.1
TERMINATED = 128 + signal.SIGTERM  # the exit status that shells report for it


class StopOnSigterm(TrainerCallback):
    """Ends training after the update in which SIGTERM came, with a checkpoint.

    It listens while it is entered as a context. Ranks get the signal at different times, so
    `CachedStep` makes them agree on the step.
    """

    def __init__(self, step: CachedStep) -> None:
        self.step = step
        self._previous: Any = None

    def __enter__(self) -> None:
        # Only the main thread may set handlers.
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._request)

    def __exit__(self, *error: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    @property
    def is_due(self) -> bool:
        """Whether training ends now; ranks have agreed on it in the last step."""
        return self.step.stop or (self.step.stop_requested and num_ranks() == 1)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop, if a rank was told to."""
        if self.is_due:
            control.should_save = control.should_training_stop = True

    def _request(self, number: int, frame: object) -> None:
        logger.warning("SIGTERM: training ends after this update, with a checkpoint.")
        self.step.stop_requested = True


def leave_process_group() -> None:
    """Wait for all ranks and end their communication.

    A process that ended before the others would make them abort. gloo's threads need the GIL to
    release the tensors they sent last, and torch holds it while it waits for these threads, so they
    get a moment first.
    """
    if dist.is_initialized():
        with awaited_by_all():
            pass
        time.sleep(_GRACE_SECONDS)
        dist.destroy_process_group()
