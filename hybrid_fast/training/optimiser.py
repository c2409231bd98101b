"""The optimiser of a run: LazyAdamW in place of AdamW wherever it applies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.compiled_layers import compiles_whole
from hybrid_fast.training.lazy_adam import LazyAdamW, adamw_state, momentum_decays
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.token_tables import large_tables, rows_caught_up


def can_update_lazily(args: HybridTrainingArguments, model: ContrastiveModel) -> bool:
    """Tell whether a run has large token tables that LazyAdamW can train.

    It is for one process on the CPU: a GPU updates a whole table in no time, several processes
    average dense gradients, and a transformer that is compiled as a whole produces them.
    """
    tables = [table.weight for table in large_tables(model.encoder)]
    return (
        bool(tables)
        and all(t.is_contiguous() and t.dtype in (torch.float32, torch.float64) for t in tables)
        and args.device.type == "cpu"
        and args.world_size == 1
        and not (args.torch_compile and compiles_whole(model.encoder))
        and momentum_decays((args.adam_beta1, args.adam_beta2))
    )


def as_lazy_adamw(optimizer: Any) -> LazyAdamW | None:
    """Return an optimiser, out of accelerate's wrapper if it is in one, if it is a LazyAdamW."""
    optimizer = getattr(optimizer, "optimizer", optimizer)
    return optimizer if isinstance(optimizer, LazyAdamW) else None


def accept_lazy_states(optimizer: torch.optim.Optimizer) -> None:
    """Let a torch.optim.AdamW load states of a LazyAdamW too; leave other optimisers alone."""
    if type(optimizer) is torch.optim.AdamW:
        optimizer.register_load_state_dict_pre_hook(lambda _, state: adamw_state(state))


@contextmanager
def lazy_updates(optimizer: Any, step: CachedStep) -> Iterator[None]:
    """Let a LazyAdamW get sparse gradients and catch up rows before they are read.

    Args:
        optimizer: of the model of `step`; any other than a LazyAdamW gets dense gradients.
        step: what computes the gradients.
    """
    lazy = as_lazy_adamw(optimizer)
    step.stay_sparse = lazy is not None
    if lazy is None:
        yield
        return

    def catch_up(table: Tensor, rows: Tensor | None) -> None:
        with step.timer.part("optimiser"):
            lazy.catch_up(table, rows)

    with rows_caught_up(step.model.encoder, catch_up):
        yield
