"""The ways by which a run computes on CPUs: those of rank 0, on all ranks and after a resumption.

Ways of `hybrid_fast.cpu` are chosen when they are first needed, in the middle of a step, where
ranks cannot exchange anything. They agree where they are together in any case: at the start, before
a checkpoint, and after the first step that follows either. So the run that goes on and the run that
resumes follow the same ways from the same step on.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hybrid_fast.cpu import choices, settle
from hybrid_fast.cpu.ways import VARIABLE, asked_otherwise
from hybrid_fast.training import checkpoints
from hybrid_fast.training.collectives import of_ranks, rank

logger = logging.getLogger(__name__)
_MAX_SHOWN = 3  # ways in a message


class CpuWays(TrainerCallback):
    """What was chosen in a run, by kind and case.

    Attributes:
        agreed: the ways that all ranks follow.
    """

    def __init__(self) -> None:
        self.agreed: dict[str, str] = {}
        self._is_due = False

    def begin(self, checkpoint: Path | None) -> None:
        """Follow a checkpoint, where HYBRID_FAST_WAYS asks for nothing else, and agree on the rest.

        All ranks call it together, and compute nothing before.

        Raises:
            ValueError: the file of the checkpoint is damaged, or the variable names no way.
        """
        saved = {} if checkpoint is None else checkpoints.read_ways(checkpoint)
        self.agreed = {}
        self._agree(_chosen() | saved)
        other = asked_otherwise(saved)
        if other and rank() == 0:
            listed = [f"{name} {saved[name]} -> {way}" for name, way in sorted(other.items())]
            more = len(listed) - _MAX_SHOWN
            logger.warning(
                "Training goes on from %s with other ways to compute, for which %s asks: %s%s. "
                "Results differ in their last bits from those of a run that was not interrupted.",
                checkpoint,
                VARIABLE,
                ", ".join(listed[:_MAX_SHOWN]),
                f" and {more} more" if more > 0 else "",
            )

    def agree(self) -> None:
        """Let all ranks, which call this together, follow what was chosen since; rank 0 first."""
        self._agree(self.agreed | _chosen())

    def _agree(self, known: dict[str, str]) -> None:
        agreed: dict[str, str] = {}
        for ways in reversed(of_ranks(known)):
            agreed |= ways
        new = {name: way for name, way in agreed.items() if self.agreed.get(name) != way}
        settle(new)
        self.agreed = agreed
        self._is_due = True
        if new:
            listed = ", ".join(f"{name} by {way}" for name, way in sorted(new.items()))
            logger.debug("All ranks compute %s.", listed)

    def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
        """Agree after the first step since ranks last did."""
        if self._is_due:
            self.agree()
            self._is_due = False


def _chosen() -> dict[str, str]:
    return {name: choice.way for name, choice in choices().items()}
