"""Ending training with a checkpoint on SIGTERM and Ctrl-C, and ending all ranks."""

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
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """Ends training after the update in which SIGTERM or SIGINT came, with a checkpoint.

    It listens while it is entered as a context. A second signal does what it did before. Ranks get
    a signal at different times, so `CachedStep` makes them agree on the step.
    """

    def __init__(self, step: CachedStep) -> None:
        self.step = step
        self._previous: dict[signal.Signals, Any] = {}
        self._received = signal.SIGTERM  # by ranks that got none themselves

    def __enter__(self) -> None:
        self.step.stop_requested = self.step.stop = False
        # Only the main thread may set handlers.
        if threading.current_thread() is threading.main_thread():
            self._previous = {each: signal.signal(each, self._request) for each in _SIGNALS}

    def __exit__(self, *error: object) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
        self._previous = {}

    @property
    def is_due(self) -> bool:
        """Whether training ends now; ranks have agreed on it in the last step."""
        return self.step.stop or (self.step.stop_requested and num_ranks() == 1)

    def end(self) -> None:
        """End what called training as the signal would have.

        Raises:
            SystemExit: with the status that shells report for SIGTERM.
            KeyboardInterrupt: it was Ctrl-C.
        """
        if self._received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self._received)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop, if a rank was told to."""
        if self.is_due:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> None:
        """Leave out what belongs to the end of an epoch, if training stops within one."""
        if self.is_due and state.epoch % 1:
            control.should_evaluate = control.should_save = False

    def _request(self, number: int, frame: object) -> None:
        self._received = signal.Signals(number)
        name = "Ctrl-C" if self._received == signal.SIGINT else self._received.name
        logger.warning(
            "%s: training ends after this update, with a checkpoint; a second one ends it at once.",
            name,
        )
        self.step.stop_requested = True
        for each, handler in self._previous.items():
            signal.signal(each, handler)


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
