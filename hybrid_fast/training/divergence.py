"""What users are told when training diverges: where, and what to change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from hybrid_fast.data import Batch
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.checkpoints import complete_checkpoints
from hybrid_fast.training.layer_rates import factor_of

_MAX_ROWS_SHOWN = 8


class DivergenceError(ValueError):
    """Training diverged: a loss, a gradient or a weight is not finite."""


@dataclass(frozen=True)
class InEffect:
    """The values that a step is computed with, which schedules and training may have changed.

    Attributes:
        learning_rate: of the fastest of the optimiser's groups, without its factor.
        first_rate: that its schedule starts from, likewise.
        schedule: name of its schedule.
        temperature: of the loss.
        factor: of the learning rate in that group, see `layer_rates`.
    """

    args: HybridTrainingArguments
    learning_rate: float
    first_rate: float
    schedule: str
    temperature: float
    factor: float = 1.0

    @classmethod
    def now(
        cls,
        args: HybridTrainingArguments,
        loss: InfoNCELoss,
        optimizer: torch.optim.Optimizer | None,
        schedule: object | None = None,
    ) -> InEffect:
        """Return those of a run in progress; reads a learned temperature from its device.

        Args:
            args: of the run.
            loss: in use.
            optimizer: in use; None before there is one.
            schedule: one that was given in place of that of the arguments.
        """
        groups = [{"lr": args.learning_rate}] if optimizer is None else optimizer.param_groups
        group = max(groups, key=lambda group: float(group["lr"]))
        rate, defaults = float(group["lr"]), getattr(optimizer, "defaults", {})
        first = float(group.get("initial_lr", defaults.get("lr", rate)))
        kind = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
        name = str(kind) if schedule is None else type(schedule).__name__
        temperature, factor = torch.as_tensor(loss.temperature).item(), factor_of(group)
        return cls(args, rate / factor, first / factor, name, temperature, factor)

    @property
    def rate(self) -> str:
        """The learning rate, and of which one it is."""
        times = f", times {self.factor:g} where it is largest" if self.factor != 1 else ""
        return f"{self.learning_rate:.4g} ({self.schedule} schedule of {self.first_rate:g}{times})"

    @property
    def other(self) -> str:
        """The temperature, the precision and the clipping."""
        args = self.args
        learned = f" (learned, from {args.temperature:g})" if args.learn_temperature else ""
        precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "float32"
        clipped = f"clipped at {args.max_grad_norm:g}" if args.max_grad_norm else "not clipped"
        return f"{self.temperature:.4g}{learned}, precision {precision}, gradients {clipped}"

    @property
    def remedy(self) -> str:
        """What to change where training diverged."""
        other = "fix the temperature" if self.args.learn_temperature else "raise temperature"
        return f"lower learning_rate, which is {self.rate}, or {other}, which is {self.other}"

    def __str__(self) -> str:
        return f"learning_rate {self.rate}, temperature {self.other}"


def divergence(in_effect: InEffect, planned: Batch, reason: object) -> DivergenceError:
    """Return the error that names the step, its rows, the last checkpoint and the values in effect.

    Args:
        in_effect: when it diverged.
        planned: the rows of the step.
        reason: what is not finite.
    """
    args = in_effect.args
    checkpoints = complete_checkpoints(args.output_dir)
    last = f"the last checkpoint is {checkpoints[-1]}" if checkpoints else "no checkpoint yet"
    return DivergenceError(
        f"training diverged at step {planned.step} (query rows {_listed(planned.query_rows)}, "
        f"passage rows {_listed(planned.passage_rows)}; {last}); "
        f"{in_effect.remedy}: {reason}"
    )


def check_finite(model: nn.Module, in_effect: InEffect) -> None:
    """Check the weights after training.

    Args:
        model: that was trained.
        in_effect: at the last step.

    Raises:
        DivergenceError: a weight is NaN or infinite.
    """
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise DivergenceError(f"training diverged: weights are NaN or infinite; {in_effect.remedy}")


def _listed(rows: np.ndarray) -> str:
    listed = ", ".join(map(str, rows[:_MAX_ROWS_SHOWN].tolist()))
    more = len(rows) - _MAX_ROWS_SHOWN
    return f"{listed} and {more} more" if more > 0 else listed
