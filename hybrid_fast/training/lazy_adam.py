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

import torch
from torch import Tensor

from hybrid_fast.training.compat import adamw_step
from hybrid_fast.training.lazy_table import LazyTable, is_saved, saved_for_adamw
from hybrid_fast.training.token_tables import coalesce

_LAZY = "lazy"  # name of the LazyTable in the state of a parameter that has one


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
        ValueError: betas out of range, or `amsgrad` or `maximize` in a group of `params`.
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
            ValueError: its betas are out of range, or it asks for `amsgrad` or `maximize`.
        """
        super().add_param_group(param_group)
        _check_options(self.param_groups[-1])

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
            and (parameter.grad.is_sparse or _LAZY in self.state[parameter])
        ]
        for table, gradient, group in tables:
            self._lazy(table).update(table, group, *rows_and_values(gradient))
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
        state = self.state.get(table, {})
        if _LAZY in state:
            group = next(g for g in self.param_groups if any(p is table for p in g["params"]))
            state[_LAZY].catch_up(table, group, rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors; of a table what `LazyTable.saved` says."""
        result: dict[str, Any] = super().state_dict()
        result["state"] = {
            number: state[_LAZY].saved() if _LAZY in state else state
            for number, state in result["state"].items()
        }
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the result of `state_dict`, or of that of torch.optim.AdamW.

        Raises:
            ValueError: options that `add_param_group` refuses, or the state of a table that does
                not fit.
        """
        for group in state_dict["param_groups"]:
            _check_options(group)
        states = state_dict["state"]
        # torch would cast all their tensors to the dtype of the weights.
        of_tables = {number for number, state in states.items() if is_saved(state)}
        others = {number: state for number, state in states.items() if number not in of_tables}
        super().load_state_dict({**state_dict, "state": others})
        parameters = [p for group in self.param_groups for p in group["params"]]
        numbers = [n for group in state_dict["param_groups"] for n in group["params"]]
        for parameter, number in zip(parameters, numbers, strict=True):
            if number in of_tables:
                self._set_lazy(parameter, LazyTable.of_saved(parameter, states[number]))

    def _lazy(self, table: Tensor) -> LazyTable:
        state = self.state[table]
        if _LAZY not in state:
            lazy = LazyTable.of_adamw(table, state) if state else LazyTable(table)
            self._set_lazy(table, lazy)
        return self.state[table][_LAZY]

    def _set_lazy(self, table: Tensor, lazy: LazyTable) -> None:
        self.state[table] = {"step": lazy.step, _LAZY: lazy}  # torch wants each state to have one


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


def _check_options(group: dict[str, Any]) -> None:
    for name in ("amsgrad", "maximize"):
        if group.get(name):
            raise ValueError(
                f"{name} is {group[name]}; lazy updates have no such option: use torch.optim.AdamW"
            )
    betas = group["betas"]
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
        number: saved_for_adamw(state, betas[number]) if is_saved(state) else state
        for number, state in state_dict["state"].items()
    }
    return {**state_dict, "state": states}
