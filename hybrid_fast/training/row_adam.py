"""AdamW whose step costs what the batch touches: rows without a gradient are left alone.

Of a table of embeddings a batch touches a few thousand rows. AdamW goes over all of it: it moves
rows whose tokens are not in the batch on by their momentum, and decays their moments and weights.
Here they keep weights and moments until they are touched again, as with torch.optim.SparseAdam, so
a rare token moves less than under AdamW, and the results differ. Weight decay, too, takes the rows
of the batch only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from hybrid_fast import _core


class RowAdamW(torch.optim.Optimizer):
    """AdamW of the rows that have a gradient.

    A dense gradient is one of all rows: for it this is torch.optim.AdamW.

    Args:
        params: contiguous parameters on the CPU, float32 or float64.
        lr: learning rate.
        betas: decay of the two moments, a step in which the row is touched.
        eps: added to the root of the second moment.
        weight_decay: rows that are touched are multiplied by 1 - lr * weight_decay.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update what has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        rows, values = touched_rows(gradient)
        _core.update_rows(
            _matrix(parameter),
            _matrix(state["exp_avg"]),
            _matrix(state["exp_avg_sq"]),
            rows.numpy(),
            _matrix(values),
            learning_rate=float(group["lr"]),
            betas=group["betas"],
            epsilon=group["eps"],
            weight_decay=group["weight_decay"],
            step=state["step"],
            num_threads=torch.get_num_threads(),
        )


def touched_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows that a gradient is of, int64 ascending, and their part of it."""
    if not gradient.is_sparse:
        return torch.arange(len(gradient) if gradient.ndim else 1), gradient
    rows = gradient._indices()[0]
    # Autograd forgets of a gradient that no row occurs in it twice; `coalesce` would sort it anew.
    if not bool((rows[1:] > rows[:-1]).all()):
        gradient = gradient.coalesce()
        rows = gradient.indices()[0]
    return rows, gradient._values()


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients, sparse ones too, to at most `max_norm` together; return their norm.

    As torch.nn.utils.clip_grad_norm_, which takes dense gradients only.
    """
    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        rows, values = touched_rows(parameter.grad)
        if parameter.grad.is_sparse:
            parameter.grad = torch.sparse_coo_tensor(
                rows[None], values, parameter.shape, is_coalesced=True, check_invariants=False
            )
        gradients.append(values)
    norm: Tensor = get_total_norm(gradients)
    for values in gradients:
        values.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _matrix(tensor: Tensor) -> Any:
    """Return a tensor's memory as a NumPy array of its rows, (1, 1) of a number."""
    tensor = tensor.detach()
    return (tensor.flatten(1) if tensor.ndim > 1 else tensor.view(-1, 1)).numpy()
