"""AdamW whose updates of embedding tables cost as much as the rows of the batch, not the table.

AdamW updates all rows of a table at each step, though a batch has gradients for few of them: the
weights and moments of the others decay, and their momentum moves them on. All of that follows from
the moments that a row's last gradient left, so here it is done when the row is needed next. The
results are those of AdamW within rounding, and bitwise identical whenever rows are caught up.
`torch.optim.SparseAdam` omits the missed updates, which makes it another optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid_fast import _core
from hybrid_fast.training.compat import adamw_step
from hybrid_fast.training.token_tables import coalesce

# The state of a table beside AdamW's own: for each row the last update of its weights and the one
# that left its moments; for the latest updates, of which rows may have missed some, the factors
# that `_core.update_rows` documents.
_LAZY_STATE = ("weight_steps", "moment_steps", "history")
# After so many updates all rows are caught up, so that a step costs the same however many came
# before it. A row would get the updates that it missed later anyway.
_LONGEST_HISTORY = 1024


class LazyAdamW(torch.optim.AdamW):
    """torch.optim.AdamW that takes sparse gradients and updates rows without one later.

    Call `catch_up` before weights with sparse gradients are read: their rows may have missed
    updates. Such weights are contiguous matrices of float32 or float64 on the CPU. Weights that
    never had a sparse gradient are updated by torch.

    Args:
        params: see torch.optim.AdamW.
        lr: see there.
        betas: see there; they must not change, and momentum must decay: see `momentum_decays`.
        eps: see there.
        weight_decay: see there.
        foreach: see there; of dense gradients.
        fused: see there; of dense gradients.

    Raises:
        ValueError: betas out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, foreach=foreach, fused=fused)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Raises:
            ValueError: its betas are out of range.
        """
        super().add_param_group(param_group)
        _check_betas(self.param_groups[-1]["betas"])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the rows that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        tables = [
            (parameter, parameter.grad, group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
            and (parameter.grad.is_sparse or "history" in self.state[parameter])
        ]
        for table, gradient, group in tables:
            self._begin_update(table, group)
            self._update_rows(table, group, *rows_and_values(gradient))
            table.grad = None  # torch's AdamW refuses it
        adamw_step(self)
        for table, gradient, _ in tables:
            table.grad = gradient
        return loss

    def catch_up(self, table: Tensor, rows: Tensor | None = None) -> None:
        """Apply the updates that rows have missed.

        Args:
            table: one of the parameters.
            rows: int64, in any order, repeated or not; default: all.

        Raises:
            ValueError: a row outside the table.
        """
        if "history" not in self.state.get(table, {}):
            return
        group = next(g for g in self.param_groups if any(p is table for p in g["params"]))
        self._update_rows(table, group, torch.arange(len(table)) if rows is None else rows)
        if rows is None:
            self.state[table]["history"] = _no_history()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the result of `state_dict`, or of that of torch.optim.AdamW.

        Raises:
            ValueError: betas out of range.
        """
        for group in state_dict["param_groups"]:
            _check_betas(group["betas"])
        super().load_state_dict(state_dict)
        parameters = [p for group in self.param_groups for p in group["params"]]
        numbers = [n for group in state_dict["param_groups"] for n in group["params"]]
        for parameter, number in zip(parameters, numbers, strict=True):
            saved = state_dict["state"].get(number, {})
            # torch has cast all tensors to the dtype of the weights.
            kept = {name: saved[name] for name in _LAZY_STATE if name in saved}
            self.state[parameter].update(kept)

    def _begin_update(self, table: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = _zeros(table), _zeros(table)
        if "history" not in state:  # all rows have had all updates
            steps = torch.full((len(table),), int(state["step"]), dtype=torch.int32)
            state["weight_steps"], state["moment_steps"] = steps, steps.clone()
            state["history"] = _no_history()
        if state["history"].shape[1] == _LONGEST_HISTORY:
            self.catch_up(table)
        state["step"] += 1
        step, rate, (beta1, beta2) = int(state["step"]), float(group["lr"]), group["betas"]
        update = [
            1 - rate * group["weight_decay"],
            rate / (1 - beta1**step),
            (1 - beta2**step) ** -0.5,
        ]
        column = torch.tensor(update, dtype=torch.float64)[:, None]
        state["history"] = torch.cat([state["history"], column], dim=1)

    def _update_rows(
        self, table: Tensor, group: dict[str, Any], rows: Tensor, gradient: Tensor | None = None
    ) -> None:
        state = self.state[table]
        _core.update_rows(
            table.detach().numpy(),
            state["exp_avg"].numpy(),
            state["exp_avg_sq"].numpy(),
            state["weight_steps"].numpy(),
            state["moment_steps"].numpy(),
            history=state["history"].numpy(),
            begin=int(state["step"]) - state["history"].shape[1],
            betas=group["betas"],
            epsilon=group["eps"],
            rows=rows.numpy(),
            gradient=None if gradient is None else gradient.contiguous().numpy(),
            num_threads=torch.get_num_threads(),
        )


def _no_history() -> Tensor:
    return torch.empty(3, 0, dtype=torch.float64)


def _zeros(table: Tensor) -> Tensor:
    """Return zeros that take memory only where they are written, unlike torch's."""
    return torch.from_numpy(np.zeros(table.shape, table.detach().numpy().dtype))


def rows_and_values(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of a gradient, int64 (n,) ascending, and their values (n, D)."""
    if not gradient.is_sparse:
        return torch.arange(len(gradient)), gradient
    gradient = coalesce(gradient)
    return gradient.indices()[0], gradient.values()


def momentum_decays(betas: tuple[float, float]) -> bool:
    """Tell whether a row without gradients comes to rest within a few thousand updates.

    Each of its steps is beta1 / sqrt(beta2) times the previous one; 0.995 allows (0.99, 0.99).
    """
    return betas[1] > 0 and 0 <= betas[0] <= 0.995 * betas[1] ** 0.5


def _check_betas(betas: tuple[float, float]) -> None:
    if not momentum_decays(betas):
        raise ValueError(
            f"betas are {betas}; beta1 must be at most 0.995 sqrt(beta2), or momentum decays too "
            "slowly for lazy updates; use torch.optim.AdamW"
        )


def adamw_state(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict for torch.optim.AdamW.

    Args:
        state_dict: of LazyAdamW or torch.optim.AdamW.

    Raises:
        ValueError: it was taken while rows had missed updates.
    """
    betas = {n: group["betas"] for group in state_dict["param_groups"] for n in group["params"]}
    states = {
        number: _with_decayed_moments(state, betas[number]) if "history" in state else state
        for number, state in state_dict["state"].items()
    }
    return {**state_dict, "state": states}


def _with_decayed_moments(
    state: dict[str, Tensor], betas: tuple[float, float]
) -> dict[str, Tensor]:
    if (state["weight_steps"] != state["step"]).any():
        raise ValueError("rows have missed updates; call LazyAdamW.catch_up before state_dict")
    ages = (state["step"] - state["moment_steps"]).double()[:, None]
    moments = {
        name: state[name] * (beta**ages).to(state[name])
        for name, beta in zip(("exp_avg", "exp_avg_sq"), betas, strict=True)
    }
    return {"step": state["step"], **moments}
