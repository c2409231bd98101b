"""In which precision the loss multiplies embeddings: as asked for, else as its device is fast at.

Autocast leaves embeddings in float32 on their way to the loss. A GPU multiplies float32 exactly at
about a fifteenth of the rate of bfloat16, which would take most of a step of a large batch.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from hybrid_fast.models import BiEncoder
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.ops.backends.registry import BACKENDS
from hybrid_fast.training.argument_checks import BF16, FLOAT32
from hybrid_fast.training.arguments import HybridTrainingArguments

logger = logging.getLogger(__name__)
_FAST_AT_BF16 = ("cuda",)


def choose_precision(args: HybridTrainingArguments, encoder: BiEncoder) -> str:
    """Return "bf16" or "float32", and say why if it is not what was asked for or the usual."""
    if args.loss_precision is not None:
        return args.loss_precision
    is_double = any(p.dtype == torch.float64 for p in encoder.parameters())
    kind = args.device.type
    if args.mixed_precision != BF16 or is_double or kind not in _FAST_AT_BF16:
        return FLOAT32
    if not any(backend.supports(BF16, kind) for backend in BACKENDS.values()):
        return FLOAT32  # where Triton is missing
    logger.info(
        "The loss multiplies embeddings in bfloat16, with sums in float32, since bf16 is on and a "
        "GPU takes about fifteen times as long for exact float32; loss_precision='float32' asks "
        "for it."
    )
    return BF16


def precision_of(loss: InfoNCELoss) -> str:
    """Return "bf16" or "float32", whichever a loss multiplies in."""
    return loss.options.get("precision") or FLOAT32


def follow_precision(loss: InfoNCELoss, saved: str, checkpoint: Path) -> None:
    """Let a loss of which nothing else is asked go on in the precision of a checkpoint."""
    before = precision_of(loss)
    if before != saved:
        loss.options["precision"] = None if saved == FLOAT32 else saved
        logger.info("The loss goes on in %s as in %s, in place of %s.", saved, checkpoint, before)
