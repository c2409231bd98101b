"""Communication between the processes (ranks) of one training; without others nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hybrid_fast.retrieval.shared_work import shared_work

_T = TypeVar("_T")


def num_ranks() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them."""
    return dist.get_rank() if dist.is_initialized() else 0


def of_ranks(value: _T) -> list[_T]:
    """Return the value of each rank, which all call this together, in rank order."""
    group = all_ranks()
    if group is None:
        return [value]
    values: list[Any] = [None] * group.size()
    dist.all_gather_object(values, value)
    return values


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


def all_ranks() -> dist.ProcessGroup | None:
    """Return the process group of all ranks; None if this process is alone."""
    return dist.group.WORLD if num_ranks() > 1 else None


def from_first_rank(compute: Callable[[], _T]) -> _T:
    """Return what the first rank computes; the others poll until it has, and get a copy."""
    with shared_work(all_ranks()) as shared:
        return compute() if shared is None else shared.first_alone(compute)


@contextmanager
def awaited_by_all() -> Iterator[None]:
    """Let ranks that are done earlier poll for the others; an exception ends all."""
    with shared_work(all_ranks()) as shared:
        yield
        if shared is not None:
            shared.meet()


@contextmanager
def ended_by_any() -> Iterator[None]:
    """Let an exception of one rank within end all with its reason, wherever they are.

    Ranks that wait for it in a collective of gloo learn it when the process ends; NCCL lets them
    wait until its timeout, unless a launcher ends them.
    """
    with shared_work(all_ranks()):
        yield


@contextmanager
def first_on_each_machine(local_rank: int) -> Iterator[None]:
    """Let the first rank of each machine go first; the others poll, and follow."""
    with shared_work(all_ranks()) as shared:
        if shared is not None and local_rank > 0:
            shared.meet()
        yield
        if shared is not None and local_rank == 0:
            shared.meet()


def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over all ranks, in one reduction for each dtype.

    A gradient keeps its dtype and layout. Halves are added up in float32, others in their own
    dtype. A weight that no rank has a gradient of stays without one, as in a single process.
    """
    by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            dtype = torch.promote_types(parameter.dtype, torch.float32)
            by_dtype.setdefault(dtype, []).append(parameter)
    for dtype, parameters in by_dtype.items():
        _average(parameters, dtype)


def _average(parameters: list[nn.Parameter], dtype: torch.dtype) -> None:
    num_ranks = dist.get_world_size()
    layouts = [_layout(parameter.grad, num_ranks) for parameter in parameters]
    flat = torch.cat(
        [
            *(_flat(parameter).to(dtype) for parameter in parameters),
            torch.tensor(layouts, dtype=dtype, device=parameters[0].device),
        ]
    )
    dist.all_reduce(flat)
    if any(layout != 1 for layout in layouts):  # reading the sums synchronises with the device
        layouts = flat[-len(layouts) :].tolist()
    flat /= num_ranks
    means = flat[: -len(layouts)].split([parameter.numel() for parameter in parameters])
    for parameter, layout, mean in zip(parameters, layouts, means, strict=True):
        if layout == 0:
            continue
        gradient = mean.view_as(parameter).to(parameter.dtype)
        parameter.grad = gradient.to_sparse(1) if layout > num_ranks else gradient


def _flat(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        return parameter.new_zeros(parameter.numel())
    gradient = parameter.grad
    return (gradient.to_dense() if gradient.is_sparse else gradient).reshape(-1)


def _layout(gradient: Tensor | None, num_ranks: int) -> int:
    """Return a number whose sum over ranks tells whether any gradient exists or is sparse."""
    if gradient is None:
        return 0
    return num_ranks + 1 if gradient.is_sparse else 1
