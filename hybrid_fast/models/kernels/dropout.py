"""Dropout on the CPU by the C++ core: masks are functions of a seed, drawn again going backward.

torch draws a mask number by number and keeps it for the backward pass; with real encoders that was
a quarter of a training step. Here one seed is drawn for each call, by torch's own generator, so
that `torch.manual_seed` and activation checkpointing replay masks as they do torch's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_fast import _core
from hybrid_fast.cpu.arrays import array_of

_DTYPES = (torch.float32, torch.bfloat16)


class Dropout(nn.Dropout):
    """torch's dropout with other masks; see `drop`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return `drop` of the input in training mode, else the input."""
        return drop(input, self.p) if self.training else input


def drop(x: Tensor, rate: float) -> Tensor:
    """Return x / (1 - rate), each number replaced by 0 with probability `rate`.

    What the kernel does not take goes to torch's dropout. The probability is `rate` to the nearest
    1 / 65,536. The mask follows from torch's random state, and is the same in both dtypes, on all
    processors and for any number of threads. It cannot be differentiated twice.

    Args:
        x: of any shape; the kernel takes float32 and bfloat16 on the CPU.
        rate: 0 to 1.
    """
    if rate == 0 or not takes(x):
        return F.dropout(x, rate)
    out: Tensor = _Drop.apply(x, rate, draw_seed())
    return out


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float, seed: int) -> Tensor:
        ctx.rate, ctx.seed = rate, seed
        return _run(x, rate, seed)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _run(gradient, ctx.rate, ctx.seed), None, None


def _run(x: Tensor, rate: float, seed: int) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    _core.drop(
        array_of(x).reshape(-1),
        array_of(out).reshape(-1),
        rate=rate,
        seed=seed,
        num_threads=torch.get_num_threads(),
    )
    return out


def takes(*tensors: Tensor) -> bool:
    """Tell whether kernels of the core take tensors, all of one dtype, in this context."""
    first = tensors[0]
    return (
        first.dtype in _DTYPES
        and all(x.device.type == "cpu" and x.dtype == first.dtype for x in tensors)
        and not torch.compiler.is_compiling()
    )


def draw_seed() -> int:
    """Return a number of torch's random state on the CPU."""
    return int(torch.randint(2**63 - 1, (), device="cpu"))
