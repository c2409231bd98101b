"""Ending training with a checkpoint on SIGTERM, which batch systems send."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Any

from transformers import TrainerCallback, TrainerControl

from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.collectives import num_ranks

logger = logging.getLogger(__name__)
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
