"""Signs that a run does not learn, read from what is logged anyway: one line, once, with causes.

collapse        the vectors of a batch have become one
zero gradient   no weight is told where to go
chance          the loss stays at that of scores which are all equal, log(candidates)
"""

from __future__ import annotations

import logging
import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hybrid_fast.training.arguments import HybridTrainingArguments

logger = logging.getLogger(__name__)

# Encoders with random weights spread by 0.005 to 0.1, trained ones by 0.1 to 1.
_COLLAPSED = 1e-4
_VECTORS = 64
# A gradient, times the temperature that divides the scores, is 0.1 to 1 while a model learns.
_VANISHED = 0.01
_NEAR_CHANCE = 0.02
_AT_CHANCE = 0.005
_LOGS, _STEPS = 5, 100  # over which a loss must stay at chance; steps where the gradient is large
_SOLVED = 1e-3  # a loss so small needs no gradient


@torch.no_grad()
def spread(vectors: Tensor) -> Tensor:
    """Return 1 - |mean|^2 of some normalised vectors, 0-dim: 0 where they have become one.

    NaN for fewer than two, which say nothing.
    """
    if len(vectors) < 2:
        return torch.tensor(math.nan)
    some = normalize(vectors[:_VECTORS].float(), dim=-1)
    return 1 - some.mean(dim=0).square().sum()


def chance_loss(
    args: HybridTrainingArguments,
    num_queries: int,
    num_passages: int,
    own_negatives: Tensor | None = None,
) -> float:
    """Return the loss of a batch whose scores are all equal.

    Args:
        args: of the run.
        num_queries: of one process.
        num_passages: of one process, hard negatives included.
        own_negatives: see `Batch.own_negatives`.
    """
    alone = 0 if own_negatives is None else len(own_negatives)
    loss = _chance_of_pooled(args, num_queries, num_passages, num_queries - alone)
    if own_negatives is None:
        return loss
    of_alone = float(own_negatives.double().log1p().sum())
    if args.symmetric:
        of_alone /= 2  # one direction: no passage is contrasted with their queries
    return (loss * (num_queries - alone) + of_alone) / num_queries


def _chance_of_pooled(
    args: HybridTrainingArguments, num_queries: int, num_passages: int, num_pooled: int
) -> float:
    """Return the same of one of the queries that have the passages of the batch as negatives."""
    ranks = args.world_size if args.shares_negatives else 1
    if args.negatives == "hard_only":
        return math.log(1 + ranks * (num_passages - num_queries))
    loss = math.log(ranks * num_passages)
    return (loss + math.log(max(ranks * num_pooled, 1))) / 2 if args.symmetric else loss


@dataclass(frozen=True)
class Logged:
    """What is known when a loss is logged, the mean over the steps since the last one.

    Attributes:
        step: updates done.
        loss: mean loss.
        chance: mean of `chance_loss`.
        gradient: norm of the last gradient; None if unknown.
        temperature: by which scores are divided.
        spread: of the passages of the last batch; NaN if unknown.
    """

    step: int
    loss: float
    chance: float
    gradient: float | None
    temperature: float
    spread: float


class LearningWatch:
    """Warns once when a run does not learn.

    Args:
        args: of the run.
    """

    def __init__(self, args: HybridTrainingArguments) -> None:
        self.args = args
        self.said = False
        self._chances: list[float] = []
        self._last: deque[Logged] = deque(maxlen=_LOGS)

    def count(
        self, num_queries: int, num_passages: int, own_negatives: Tensor | None = None
    ) -> None:
        """Note the size of a batch of this process; see `chance_loss`."""
        self._chances.append(chance_loss(self.args, num_queries, num_passages, own_negatives))

    def mean_chance(self) -> float:
        """Return the mean of the losses by chance since it was last asked for, NaN if none."""
        chances, self._chances = self._chances, []
        return sum(chances) / len(chances) if chances else math.nan

    def see(self, logged: Logged, in_effect: str) -> None:
        """Look at what is logged; warn if the run does not learn.

        Args:
            logged: at this step.
            in_effect: the values in effect, for the message.
        """
        self._last.append(logged)
        found = None if self.said else self._finding()
        if found is None:
            return
        self.said = True
        logger.warning("step %d: %s; in effect: %s", logged.step, found, in_effect)

    def _finding(self) -> str | None:
        now = self._last[-1]
        if len(self._last) > 1 and all(each.spread < _COLLAPSED for each in list(self._last)[-2:]):
            return (
                f"the vectors of a batch have become one (their spread is {now.spread:.1g}), so "
                "the model cannot tell texts apart; likely causes: a learning rate that is too "
                "high, texts with equal tokens, or a pooling over tokens that all texts share"
            )
        if now.gradient == 0 and (now.loss > _SOLVED or len(self._last) == 1):
            return f"the gradient is zero at a loss of {now.loss:.4g}; {self._cause_of_zero(now)}"
        if self._stays_at_chance():
            return (
                f"the loss of {now.loss:.4g} stays at log(candidates) = {now.chance:.4g}, that of "
                "a model which knows nothing; likely causes: a learning rate that is too high or "
                "too low, a temperature that is too high, texts with equal tokens, or queries and "
                "passages that do not belong together"
            )
        return None

    def _cause_of_zero(self, now: Logged) -> str:
        if now.chance == 0:
            return (
                "a query has no negatives: raise batch_size (no help where in_batch is false) or "
                "give hard negatives"
            )
        if now.loss <= _SOLVED:
            return (
                "every query prefers its own passage by far: raise the temperature, or give harder "
                "negatives"
            )
        return (
            "likely causes: weights that are frozen below the last layer, a temperature so low "
            "that scores saturate, or vectors that do not depend on the weights"
        )

    def _stays_at_chance(self) -> bool:
        logs = self._last
        if len(logs) < _LOGS:
            return False
        if all(_off(each) <= _NEAR_CHANCE and _vanished(each) for each in logs):
            return True
        long = logs[-1].step - logs[0].step >= _STEPS
        return long and all(_off(each) <= _AT_CHANCE for each in logs)


def _off(logged: Logged) -> float:
    """Return how far a loss is from chance, relative to it; infinity where chance is 0 or NaN."""
    return abs(logged.loss / logged.chance - 1) if logged.chance > 0 else math.inf


def _vanished(logged: Logged) -> bool:
    return logged.gradient is not None and logged.gradient * logged.temperature < _VANISHED
