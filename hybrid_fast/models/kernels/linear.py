"""Linear layers on the CPU: float32 products by the fastest library, casts to bfloat16 once.

In float32 each product is computed by the library that is fastest at it here. Under autocast
products are torch's, but layers that take the same input, such as the projections of an attention,
share its cast, forward and backward; autocast itself casts it for each of them.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_fast.cpu import products

_FEWEST = 2**22  # multiplications; below, what Python adds is more than a faster product saves
_PLAIN = (Tensor, nn.Parameter)  # not quantised, sharded or traced


class Linear(nn.Linear):
    """torch's linear layer with other products and fewer casts; see `linear` and `cast_once`."""

    def forward(self, input: Tensor) -> Tensor:
        """Return `linear` of the input."""
        return linear(cast_once(input), self.weight, self.bias)


class _LastCast(threading.local):
    """The last input that was cast in this thread, and what became of it."""

    source: weakref.ref[Tensor] | None = None
    key: tuple[Any, ...] = ()
    cast: Tensor | None = None

    def forget(self, source: weakref.ref[Tensor]) -> None:
        """Let go of the cast of an input that is no more, and of its graph."""
        if self.source is source:
            self.source = self.cast = None


_last = _LastCast()


def cast_once(x: Tensor) -> Tensor:
    """Return what autocast would make of the input of a product, made once for all that take it.

    Gradients by those layers are then added in the dtype of autocast.

    Args:
        x: of any shape, dtype and device; all but float32 on a CPU under autocast comes back as it
            is.
    """
    if not (
        torch.is_autocast_enabled("cpu")
        and x.dtype is torch.float32
        and x.is_cpu
        and type(x) is Tensor
        and not x.is_inference()
        and not torch.compiler.is_compiling()
    ):
        return x
    dtype = torch.get_autocast_dtype("cpu")
    key = (x._version, x.requires_grad, torch.is_grad_enabled(), dtype)
    cast = _last.cast
    if cast is None or _last.source is None or _last.source() is not x or _last.key != key:
        cast = x.to(dtype)
        # The old input may die with its cast: by then it is none to forget.
        _last.source, _last.key = weakref.ref(x, _last.forget), key
        _last.cast = cast
    return cast


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
