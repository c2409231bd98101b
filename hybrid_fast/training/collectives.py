"""Communication between the processes (ranks) of one training; without others nothing is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import nn

_T = TypeVar("_T")
_GRACE_SECONDS = 0.1


def num_ranks() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def any_rank(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Return for each flag whether any rank has set it."""
    if not dist.is_initialized():
        return list(flags)
    shared = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return shared.bool().tolist()


def smallest_of_ranks(sizes: Sequence[int], device: torch.device) -> list[int]:
    """Return for each size the smallest of all ranks."""
    if not dist.is_initialized():
        return list(sizes)
    shared = torch.tensor(sizes, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MIN)
    return shared.tolist()


def from_first_rank(compute: Callable[[], _T]) -> _T:
    """Return what the first rank computes; the others wait for a copy of it."""
    if not dist.is_initialized():
        return compute()
    results: list[Any] = [compute() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(results, src=0)
    result: _T = results[0]
    return result


def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over all ranks, in one reduction."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.reshape(-1).float() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    means = flat.split([p.numel() for p in parameters])
    for parameter, mean in zip(parameters, means, strict=True):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype)


def leave_process_group() -> None:
    """Wait for all ranks and end their communication.

    A process that ended before the others would make them abort. gloo's threads need the GIL to
    release the tensors they sent last, and torch holds it while it waits for these threads, so they
    get a moment first.
    """
    state = PartialState()
    if state.use_distributed:
        state.wait_for_everyone()
        time.sleep(_GRACE_SECONDS)
        state.destroy_process_group()
