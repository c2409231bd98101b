"""How processes end: together, and at SIGTERM, which batch systems send, with a checkpoint."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl

from hybrid_fast.training.cached_step import CachedStep, num_ranks

logger = logging.getLogger(__name__)
TERMINATED = 128 + signal.SIGTERM  # what a shell reports of a process that ended by it

LET_GO_S = 0.1


def leave_process_group() -> None:
    """End the communication of all processes, which wait for one another; nothing without others.

    A process that ended before the others would make them abort. Threads of gloo need the lock of
    the interpreter to let go of the tensors they sent last, and torch holds it while it waits for
    these threads: they get a moment before.
    """
    state = PartialState()
    if state.use_distributed:
        state.wait_for_everyone()
        time.sleep(LET_GO_S)
        state.destroy_process_group()


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

    @property
    def is_due(self) -> bool:
        """Whether training ends now; several ranks have agreed in the last step."""
        return self.step.stop or (self.step.stop_asked and num_ranks() == 1)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop, if a rank was asked to."""
        if self.is_due:
            control.should_save = control.should_training_stop = True

    def _ask(self, number: int, frame: object) -> None:
        logger.warning("SIGTERM: training ends after this update, with a checkpoint.")
        self.step.stop_asked = True
