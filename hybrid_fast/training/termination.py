"""SIGTERM, which batch systems send before they end a job: write a checkpoint, then end."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from transformers import TrainerCallback, TrainerControl

from hybrid_fast.training.cached_step import CachedStep

logger = logging.getLogger(__name__)
TERMINATED = 128 + signal.SIGTERM  # what a shell reports of a process that ended by it


class StopOnSigterm(TrainerCallback):
    """Ends training after the update in which SIGTERM came, with a checkpoint.

    Listens while it is entered as a context. Ranks get the signal at different times, so it is
    `CachedStep` in which they agree on the step.
    """

    def __init__(self, step: CachedStep) -> None:
        self.step = step
        self._previous: Any = None

    def __enter__(self) -> None:
        # Only the main thread may.
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._ask)

    def __exit__(self, *error: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop, if a rank was asked to."""
        if self.step.stop:
            control.should_save = control.should_training_stop = True

    def _ask(self, number: int, frame: object) -> None:
        logger.warning("SIGTERM: training ends after this update, with a checkpoint.")
        self.step.stop_asked = True
