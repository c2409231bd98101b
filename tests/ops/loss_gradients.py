"""A loss and its gradients by the name of the argument: of a function, and of the definition."""

from __future__ import annotations

from typing import Any

import torch
from literal_loss import literal_loss, literal_shares
from torch import Tensor

DIFFERENTIABLE = ("queries", "passages", "temperature", "weights")


def loss_and_gradients(function, arguments: dict[str, Any]) -> dict[str, Tensor]:
    """Return the loss and, by name, the gradients of those arguments that want one."""
    loss = function(**arguments)
    wanted = _wanted(arguments)
    gradients = torch.autograd.grad(loss, list(wanted.values()), _upstream(loss)) if wanted else ()
    return {"loss": loss.detach(), **dict(zip(wanted, gradients, strict=True))}


def true_loss_and_gradients(arguments: dict[str, Any]) -> dict[str, Tensor]:
    """Return those of the definition, in float64."""
    return loss_and_gradients(literal_loss, _in_float64(arguments))


def true_shares_and_gradients(
    parts: list[dict[str, Any]], temperature: float | Tensor, **options: Any
) -> list[dict[str, Tensor]]:
    """Return for each rank those of the definition of the global batch, in float64.

    Args:
        parts: of each rank, its tensors of rows and columns.
        temperature: of all; its gradient is that of all ranks.
        **options: others of `info_nce`.
    """
    shared = _in_float64({"temperature": temperature})
    parts = [_in_float64(part) for part in parts]
    shares = literal_shares(parts, **shared, **options)
    total = sum((_upstream(share) * share).sum() for share in shares)
    results = []
    for part, share in zip(parts, shares, strict=True):
        wanted = _wanted(part | shared)
        gradients = ()
        if wanted:
            gradients = torch.autograd.grad(
                total, list(wanted.values()), retain_graph=True, materialize_grads=True
            )
        results.append({"loss": share.detach(), **dict(zip(wanted, gradients, strict=True))})
    return results


def _upstream(loss: Tensor) -> Tensor:
    return torch.linspace(1, 2, loss.numel(), dtype=loss.dtype).reshape(loss.shape)


def _wanted(arguments: dict[str, Any]) -> dict[str, Tensor]:
    given = {name: arguments[name] for name in DIFFERENTIABLE if name in arguments}
    return {
        name: value
        for name, value in given.items()
        if isinstance(value, Tensor) and value.requires_grad
    }


def _in_float64(arguments: dict[str, Any]) -> dict[str, Any]:
    changed = {}
    for name in DIFFERENTIABLE:
        value = arguments.get(name)
        if isinstance(value, Tensor):
            changed[name] = value.detach().double().requires_grad_(value.requires_grad)
    return arguments | changed
