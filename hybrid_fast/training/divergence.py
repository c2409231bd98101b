"""What users are told when training diverges: where, and what to change."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hybrid_fast.data import Batch
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.checkpoints import complete_checkpoints

_MAX_ROWS_SHOWN = 8


class DivergenceError(ValueError):
    """Training diverged: a loss, a gradient or a weight is not finite."""


def divergence(args: HybridTrainingArguments, planned: Batch, reason: object) -> DivergenceError:
    """Return the error that names the step, its rows and the last checkpoint.

    Args:
        args: of the run.
        planned: the rows of the step.
        reason: what is not finite.
    """
    checkpoints = complete_checkpoints(args.output_dir)
    last = f"the last checkpoint is {checkpoints[-1]}" if checkpoints else "no checkpoint yet"
    return DivergenceError(
        f"training diverged at step {planned.step} (query rows {_listed(planned.query_rows)}, "
        f"passage rows {_listed(planned.passage_rows)}; {last}); {_remedy(args)}: {reason}"
    )


def check_finite(model: nn.Module, args: HybridTrainingArguments) -> None:
    """Check the weights after training.

    Raises:
        DivergenceError: a weight is NaN or infinite.
    """
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise DivergenceError(f"training diverged: weights are NaN or infinite; {_remedy(args)}")


def _remedy(args: HybridTrainingArguments) -> str:
    return (
        f"lower learning_rate, which is {args.learning_rate}, or raise temperature, which is "
        f"{args.temperature}"
    )


def _listed(rows: np.ndarray) -> str:
    listed = ", ".join(map(str, rows[:_MAX_ROWS_SHOWN].tolist()))
    more = len(rows) - _MAX_ROWS_SHOWN
    return f"{listed} and {more} more" if more > 0 else listed
