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
    """torch's linear layer with other products; see `linear`.

    Autocast converts a trained weight once a pass, a frozen one in every call; here it is converted
    once, until `forget_converted`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return `linear` of the input."""
        weight = _converted(self) if _is_converted_each_time(self.weight) else self.weight
        return linear(input, weight, self.bias)


def forget_converted(module: nn.Module) -> None:
    """Free the weight that a `Linear` has converted, if any."""
    module.__dict__.pop("_converted_weight", None)


def _is_converted_each_time(weight: Tensor) -> bool:
    return (
        not weight.requires_grad
        and torch.is_autocast_enabled("cpu")
        and weight.dtype is torch.float32
        and weight.is_cpu
        and type(weight) in _PLAIN
        and not torch.compiler.is_compiling()
    )


def _converted(module: nn.Linear) -> Tensor:
    weight, dtype = module.weight, torch.get_autocast_dtype("cpu")
    # What inference mode makes cannot be saved for a backward pass.
    key = (id(weight), weight._version, dtype, torch.is_inference_mode_enabled())
    kept: tuple[Any, Tensor, Tensor] | None = module.__dict__.get("_converted_weight")
    if kept is None or kept[0] != key:
        kept = module.__dict__["_converted_weight"] = key, weight, weight.to(dtype)
    return kept[2]


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
