"""GELU on the CPU by the C++ core, in evaluation mode; the faster of it and torch's is measured.

torch's takes an exact erf of each number, which in an encoder is half as dear as a product.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import activations

from hybrid_fast import _core
from hybrid_fast.cpu import fastest, products
from hybrid_fast.cpu.arrays import array_of
from hybrid_fast.models.kernels.dropout import takes

_FEWEST = 2**14  # numbers; below, what Python adds is more than a faster kernel saves
_MEASURED = 768 * 1536  # numbers, of a usual batch


class GELU(nn.GELU):
    """torch's exact GELU by `gelu`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the GELU of the input; in training mode torch's."""
        return F.gelu(input) if self.training else gelu(input)


class GELUActivation(activations.GELUActivation):
    """That of transformers by `gelu`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the GELU of the input; in training mode torch's."""
        return F.gelu(input) if self.training else gelu(input)


def is_exact(module: nn.Module) -> bool:
    """Tell whether an activation computes what `gelu` does."""
    return getattr(module, "approximate", "none") == "none" and (
        not isinstance(module, activations.GELUActivation) or getattr(module, "act", None) is F.gelu
    )


def gelu(x: Tensor) -> Tensor:
    """Return x Phi(x), where Phi is the distribution of a standard normal.

    It is off by at most 3e-7 |x| before it is rounded to its dtype.
    What is small, has a gradient or is not of float32 or bfloat16 on the CPU goes to torch.

    Args:
        x: of any shape.
    """
    if not _takes(x) or _way(x.dtype) == "torch":
        return F.gelu(x)
    return _by_core(x)


def _takes(x: Tensor) -> bool:
    return (
        x.numel() >= _FEWEST
        and type(x) is Tensor
        and takes(x)
        and not (torch.is_grad_enabled() and x.requires_grad)
    )


def _way(dtype: torch.dtype) -> str:
    @cache
    def numbers() -> Tensor:
        return torch.linspace(-3, 3, _MEASURED, dtype=dtype)

    def compute(way: Any) -> None:
        with torch.no_grad():
            way(numbers())

    ways = {"torch": partial(compute, F.gelu), "core": partial(compute, _by_core)}
    case = f"{str(dtype).removeprefix('torch.')} encoding"
    return fastest("gelu", case, products.setting(), lambda: ways)


def _by_core(x: Tensor) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    _core.gelu(
        array_of(x).reshape(-1),
        array_of(out).reshape(-1),
        num_threads=torch.get_num_threads(),
    )
    return out
