"""Optimiser and schedule of a run that goes on: their state is loaded, their options are followed.

torch's `load_state_dict` brings back the options of the checkpoint with its state: learning rate,
weight decay, betas. Options that were asked for anew are written over them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from hybrid_fast.training.checkpoints import OPTIMIZER_FILE
from hybrid_fast.training.compat import note_rates, set_rates
from hybrid_fast.training.lazy_adam import LazyAdamW, adamw_state
from hybrid_fast.training.optimiser import as_lazy_adamw

SCHEDULER_FILE = "scheduler.pt"

Options = list[dict[str, Any]]


def options_of(optimizer: Any) -> Options:
    """Return the options of each group of parameters, as JSON holds them.

    `lr` is the rate that a schedule starts from.
    """
    return [
        {
            **{name: _plain(value) for name, value in group.items() if _is_option(name, value)},
            "lr": _number(group.get("initial_lr", group["lr"])),
        }
        for group in optimizer.param_groups
    ]


def kind_of(optimizer: Any) -> str:
    """Return the class of an optimiser; LazyAdamW is AdamW, whose states it reads and writes."""
    kind = type(getattr(optimizer, "optimizer", optimizer))
    kind = torch.optim.AdamW if kind is LazyAdamW else kind
    return f"{kind.__module__}.{kind.__qualname__}"


def follow_options(optimizer: Any, before: Options, asked: Options) -> None:
    """Write the options that were changed into an optimiser.

    Others stay as they are: some optimisers keep state among them.

    Args:
        optimizer: its rates become those asked for, times the factor that a schedule had reached.
        before: `options_of` the optimiser as it was made for the state that it has.
        asked: of one made as asked for now.

    Raises:
        ValueError: the optimiser cannot take them.
    """
    lazy = as_lazy_adamw(optimizer)
    if lazy and [group["betas"] for group in before] != [group["betas"] for group in asked]:
        # Moments of rows without gradients decay by the old betas up to here.
        lazy.load_state_dict(adamw_state(lazy.state_dict()))
    for group, old, new in zip(optimizer.param_groups, before, asked, strict=True):
        for name, value in new.items():
            if name != "lr" and old.get(name) != value:
                group[name] = tuple(value) if isinstance(value, list) else value
        if old["lr"] != new["lr"]:
            factor = group["lr"] / old["lr"] if old["lr"] and new["lr"] is not None else None
            group["lr"] = new["lr"] if factor is None else new["lr"] * factor
            if "initial_lr" in group:
                group["initial_lr"] = new["lr"]


def load_optimiser(
    optimizer: Any, checkpoint: Path, device: torch.device | str, before: Options, asked: Options
) -> None:
    """Load the state of a checkpoint; other arguments are those of `follow_options`."""
    path = checkpoint / OPTIMIZER_FILE
    optimizer.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    follow_options(optimizer, before, asked)


def load_schedule(
    scheduler: Any, optimizer: Any, checkpoint: Path, asked: Options, step: int, *, same: bool
) -> None:
    """Let a new schedule go on from a checkpoint, and set the rates of its optimiser.

    Args:
        scheduler: the rate of a LambdaLR is a function of the step; any other starts anew if it
            is not the `same`.
        optimizer: with the state of the checkpoint, and the options asked for.
        checkpoint: the folder.
        asked: these options.
        step: number of updates made.
        same: whether kind and options of the schedule are those of the checkpoint.
    """
    state = torch.load(checkpoint / SCHEDULER_FILE, weights_only=True)
    bases = [options["lr"] for options in asked]
    if isinstance(scheduler, LambdaLR):
        done = state["last_epoch"] if "lr_lambdas" in state else step
        factors = [factor(done) for factor in scheduler.lr_lambdas]
        rates = [base * factor for base, factor in zip(bases, factors, strict=True)]
        set_rates(scheduler, done, bases, rates)
    elif same:
        scheduler.load_state_dict(state)
        rates = [group["lr"] for group in optimizer.param_groups]
        note_rates(scheduler, rates)
    else:
        rates = bases
        note_rates(scheduler, rates)
    for group, base, rate in zip(optimizer.param_groups, bases, rates, strict=True):
        group["lr"] = rate
        if "initial_lr" in group or isinstance(scheduler, LambdaLR):
            group["initial_lr"] = base


def _is_option(name: str, value: Any) -> bool:
    if name in ("params", "param_names", "initial_lr"):
        return False
    entries = value if isinstance(value, tuple | list) else [value]
    return all(entry is None or isinstance(entry, bool | int | float | str) for entry in entries)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(rate: Any) -> float | None:
    return None if rate is None else float(rate)
