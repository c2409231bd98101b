"""Linear layers in float32 on the CPU, each product by the library that is fastest at it here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_fast.cpu import products

_FEWEST = 2**22  # multiplications; below, what Python adds is more than a faster product saves
_PLAIN = (Tensor, nn.Parameter)  # not quantised, sharded or traced


class Linear(nn.Linear):
    """torch's linear layer with other products; see `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return `linear` of the input."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b, exact in float32, as are its gradients.

    Other dtypes and devices, small products and what autocast or a compiler takes go to torch. A
    class of shapes is always computed in one way, so that results are the same twice.

    Args:
        x: (..., K).
        weight: (N, K).
        bias: (N,).
    """
    if not _takes(x, weight, bias):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    needs_graph = torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in (x, weight, bias)
    )
    out: Tensor = (_Linear.apply if needs_graph else products.nt)(rows, weight, bias)
    return out.view(*x.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        of_x, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weight else None, weight if of_x else None)
        return products.nt(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        again = torch.is_grad_enabled()  # a second derivative is asked for, which torch's have
        nn_, tn = (torch.mm, _transposed_mm) if again else (products.nn, products.tn)
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            nn_(gradient, weight) if of_x else None,
            tn(gradient, x) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _transposed_mm(a: Tensor, b: Tensor) -> Tensor:
    return a.T @ b


def _takes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    tensors = (x, weight) if bias is None else (x, weight, bias)
    return (
        x.numel() * len(weight) >= _FEWEST
        and all(
            each.dtype is torch.float32 and each.is_cpu and type(each) in _PLAIN for each in tensors
        )
        and x.shape[-1] == weight.shape[-1]
        and weight.ndim == 2
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
