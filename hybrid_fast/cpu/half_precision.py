"""Whether a processor has products of half precision, and what it costs where it has none.

Libraries compute them in any case: without the instructions value by value, in many times the time
of float32.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_fast.common.launch import find_launch
from hybrid_fast.cpu.machine import processor
from hybrid_fast.cpu.products import setting
from hybrid_fast.cpu.ways import compare

logger = logging.getLogger(__name__)
# Instruction sets with which libraries compute a dtype's products, one of them suffices.
_PRODUCTS = {
    torch.bfloat16: {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    torch.float16: {"avx512_fp16", "amx_fp16", "avx_ne_convert", "asimdhp"},
}
# Of an unknown processor; half the bytes make products faster where it has the instructions.
_EMULATED_FROM = 1.5
# Of the layer that is measured: some milliseconds, however slow.
_ROWS, _WIDTH = 128, 256

_said: set[torch.dtype] = set()


def emulates(dtype: torch.dtype) -> bool:
    """Tell whether the processor lacks instructions for products of a dtype.

    Known by its instruction sets, and of a processor that does not name them by measurement.

    Args:
        dtype: such as torch.bfloat16; only those of half precision are ever emulated.
    """
    if dtype not in _PRODUCTS:
        return False
    sets = processor()["instruction_sets"]
    return not _PRODUCTS[dtype] & set(sets) if sets else slowdown(dtype) > _EMULATED_FROM


def slowdown(dtype: torch.dtype) -> float:
    """Return the time of a linear layer and of its gradients in a dtype, that in float32 being 1.

    Measured once, then kept in the user's cache, see `ways.compare`.
    """
    name = str(dtype).removeprefix("torch.")
    layers = {"float32": _Layer(torch.float32), name: _Layer(dtype)}
    seconds = compare(f"layer {name}", setting(), layers).seconds
    return seconds[name] / seconds["float32"]


class _Layer:
    """The products of a linear layer, (rows, width) to as many, forward and backward."""

    def __init__(self, dtype: torch.dtype) -> None:
        # No random numbers: those of the caller must not depend on a measurement.
        self.inputs, self.gradient = (self._filled(dtype, _ROWS) for _ in range(2))
        self.weight = self._filled(dtype, _WIDTH)

    @staticmethod
    def _filled(dtype: torch.dtype, rows: int) -> Tensor:
        return torch.full((rows, _WIDTH), 0.5, dtype=dtype, device="cpu")

    def __call__(self) -> None:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            self.inputs @ self.weight.T
            self.gradient @ self.weight
            self.gradient.T @ self.inputs


def say_if_emulated(dtype: torch.dtype, given: str, instead: str) -> None:
    """Warn once in a process, and on rank 0 alone, if products of a dtype are emulated here.

    Args:
        dtype: that products on the CPU are about to be computed in.
        given: what asks for it, such as "bf16=True".
        instead: what to do, such as "Set bf16=False".
    """
    if dtype in _said:
        return
    _said.add(dtype)  # also where there is nothing to say: a measurement may not be kept
    if not emulates(dtype) or not _is_first_rank():
        return
    factor = slowdown(dtype)
    logger.warning(
        "%s: this processor (%s) has no products of %s and emulates them: a layer and its "
        "gradients take %s times as long as in float32, as measured here. %s.",
        given,
        processor()["name"],
        str(dtype).removeprefix("torch."),
        f"{factor:.1f}" if factor < 10 else f"{factor:.0f}",
        instead,
    )


def leave_unsaid() -> None:
    """Let another process warn in place of this one."""
    _said.update(_PRODUCTS)


def _is_first_rank() -> bool:
    if dist.is_initialized():
        return dist.get_rank() == 0
    with suppress(ValueError):  # who needs the variables says what is wrong with them
        return find_launch().rank == 0
    return True
