"""The state of AdamW of one embedding table whose rows are updated when they are needed.

Rows that never had a gradient have no moments: neither memory nor checkpoints hold any for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid_fast import _core

# No row waits longer for an update that it missed. Each update catches up one of as many parts of
# the table, so that all cost the same, however many came before.
LONGEST_WAIT = 1024

_MOMENTS = ("exp_avg", "exp_avg_sq")


class LazyTable:
    """Moments of the rows of a table, and the updates that its rows may have missed.

    Args:
        table: float32 or float64, a contiguous matrix on the CPU.
        step: number of updates, which all rows have had.

    Attributes:
        step: number of updates, a 0-dim tensor as AdamW's own.
    """

    def __init__(self, table: Tensor, step: float = 0) -> None:
        self.step = torch.tensor(float(step))
        num_rows = len(table)
        self._places = np.full(num_rows, -1, np.int32)  # of each row among the moments, or -1
        self._weight_steps = np.full(num_rows, step, np.int32)  # last update of each row
        # By place: the row, its moments, and the update that left them. Places are given one after
        # another, and memory is taken where something is written.
        self._num_places = 0
        self._rows = np.zeros(num_rows, np.int32)
        self._moment_steps = np.zeros(num_rows, np.int32)
        self._moments = [np.zeros(table.shape, table.detach().numpy().dtype) for _ in _MOMENTS]
        # Factors, as `_core.update_rows` documents them, of `_num_known` updates before `_end`.
        self._updates = np.empty((2 * LONGEST_WAIT, 3))
        self._num_known = self._end = 0

    @classmethod
    def of_adamw(cls, table: Tensor, state: dict[str, Tensor]) -> LazyTable:
        """Return what goes on from the state of torch.optim.AdamW; moments of 0 are left out."""
        result = cls(table, float(state["step"]))
        moments = [state[name] for name in _MOMENTS]
        rows = torch.stack([moment.any(1) for moment in moments]).any(0).nonzero()[:, 0]
        result._put(rows, [moment[rows] for moment in moments], int(result.step))
        return result

    @classmethod
    def of_saved(cls, table: Tensor, saved: dict[str, Any]) -> LazyTable:
        """Return what goes on from the result of `saved`.

        Raises:
            ValueError: it is of another table, or damaged.
        """
        _check_saved(saved, table)
        result = cls(table, float(saved["step"]))
        result._put(saved["rows"], [saved[name] for name in _MOMENTS], saved["moment_steps"])
        if "history" in saved:
            history = saved["history"].numpy()
            result._weight_steps[:] = saved["weight_steps"].numpy()
            result._updates[: len(history)] = history
            result._num_known = result._end = len(history)
        return result

    def _put(self, rows: Tensor, moments: Sequence[Tensor], moment_steps: Tensor | int) -> None:
        places = self._add(rows.numpy())
        for kept, given in zip(self._moments, moments, strict=True):
            kept[places] = given.numpy()
        self._moment_steps[places] = moment_steps

    def saved(self) -> dict[str, Any]:
        """Return the state as tensors; they share memory with it.

        Returns:
            `step`, 0-dim; `num_rows` of the table; `rows`, int32 (n,), those that have had a
            gradient; their moments `exp_avg` and `exp_avg_sq`, (n, D), and `moment_steps`, int32
            (n,), the update that left each. If rows have missed updates, also `weight_steps`,
            int32, the last one of each row of the table, and `history`, float64 (updates, 3).
        """
        count = self._num_places
        state: dict[str, Any] = {
            "step": self.step,
            "num_rows": len(self._places),
            "rows": torch.from_numpy(self._rows[:count]),
            "moment_steps": torch.from_numpy(self._moment_steps[:count]),
        }
        for name, moments in zip(_MOMENTS, self._moments, strict=True):
            state[name] = torch.from_numpy(moments[:count])
        if (self._weight_steps < int(self.step)).any():
            state["weight_steps"] = torch.from_numpy(self._weight_steps)
            state["history"] = torch.from_numpy(self._history)
        return state

    def update(self, table: Tensor, group: dict[str, Any], rows: Tensor, gradient: Tensor) -> None:
        """Make an update, of which some rows have a gradient.

        Args:
            table: as given before.
            group: options of AdamW.
            rows: int64 (n,), ascending.
            gradient: (n, D), of these rows.
        """
        self.step += 1
        self._remember(group)
        numbers = rows.numpy()
        self._add(numbers[self._places[numbers] < 0])
        self._update_rows(table, group, numbers, gradient.contiguous().numpy())
        size, part = len(table), int(self.step) % LONGEST_WAIT
        due = np.arange(size * part // LONGEST_WAIT, size * (part + 1) // LONGEST_WAIT)
        self._update_rows(table, group, due)

    def catch_up(self, table: Tensor, group: dict[str, Any], rows: Tensor | None = None) -> None:
        """Apply the updates that rows have missed; arguments as of `update`, None: all rows."""
        numbers = np.arange(len(table)) if rows is None else rows.numpy()
        self._update_rows(table, group, numbers)

    @property
    def _history(self) -> np.ndarray:
        return self._updates[self._end - self._num_known : self._end]

    def _remember(self, group: dict[str, Any]) -> None:
        """Put the factors of this update behind those of the updates before."""
        if self._end == len(self._updates):
            self._updates[:LONGEST_WAIT] = self._updates[LONGEST_WAIT:]
            self._end = LONGEST_WAIT
        step, rate, (beta1, beta2) = int(self.step), float(group["lr"]), group["betas"]
        self._updates[self._end] = (
            1 - rate * group["weight_decay"],
            rate / (1 - beta1**step),
            (1 - beta2**step) ** -0.5,
        )
        self._end += 1
        self._num_known = min(self._num_known + 1, LONGEST_WAIT)

    def _add(self, rows: np.ndarray) -> np.ndarray:
        """Give rows places for their moments, and return these."""
        places = np.arange(self._num_places, self._num_places + len(rows))
        self._num_places += len(rows)
        self._places[rows] = places
        self._rows[places] = rows
        return places

    def _update_rows(
        self,
        table: Tensor,
        group: dict[str, Any],
        rows: np.ndarray,
        gradient: np.ndarray | None = None,
    ) -> None:
        first_moments, second_moments = (given[: self._num_places] for given in self._moments)
        _core.update_rows(
            table.detach().numpy(),
            first_moments,
            second_moments,
            self._places,
            self._weight_steps,
            self._moment_steps[: self._num_places],
            history=self._history,
            begin=int(self.step) - self._num_known,
            betas=group["betas"],
            epsilon=group["eps"],
            rows=rows,
            gradient=gradient,
            num_threads=torch.get_num_threads(),
        )


def is_saved(state: dict[str, Any]) -> bool:
    """Tell whether a state is that of a LazyTable, not of torch.optim.AdamW."""
    return "num_rows" in state


def saved_for_adamw(saved: dict[str, Any], betas: tuple[float, float]) -> dict[str, Tensor]:
    """Return a saved state as torch.optim.AdamW has it: with moments of all rows, decayed.

    Raises:
        ValueError: rows have missed updates.
    """
    if "history" in saved:
        raise ValueError("rows have missed updates; call LazyAdamW.catch_up before state_dict")
    ages = (saved["step"] - saved["moment_steps"]).double()[:, None]
    state = {"step": saved["step"]}
    for name, beta in zip(_MOMENTS, betas, strict=True):
        moments = saved[name]
        state[name] = moments.new_zeros(saved["num_rows"], moments.shape[1])
        state[name][saved["rows"].long()] = moments * (beta**ages).to(moments)
    return state


def _check_saved(saved: dict[str, Any], table: Tensor) -> None:
    num_rows, dim = table.shape
    needed = {"step", "rows", "moment_steps", *_MOMENTS}
    needed |= {"weight_steps"} if "history" in saved else set()
    if missing := sorted(needed - saved.keys()):
        raise ValueError(f"the state is damaged: it lacks {', '.join(missing)}")
    if saved["num_rows"] != num_rows:
        raise ValueError(
            f"the state is that of a table of {saved['num_rows']} rows; this one has {num_rows}"
        )
    rows = saved["rows"].long()
    if not ((rows >= 0) & (rows < num_rows)).all() or len(rows.unique()) < len(rows):
        raise ValueError(f"the state is damaged: its rows are not distinct ones of {num_rows}")
    shapes = {"moment_steps": (len(rows),), **dict.fromkeys(_MOMENTS, (len(rows), dim))}
    if "history" in saved:
        known = min(len(saved["history"]), LONGEST_WAIT)
        shapes |= {"weight_steps": (num_rows,), "history": (known, 3)}
    for name, shape in shapes.items():
        if saved[name].shape != shape:
            raise ValueError(
                f"the state is damaged: {name} has the shape {tuple(saved[name].shape)}; "
                f"it needs {shape}"
            )
