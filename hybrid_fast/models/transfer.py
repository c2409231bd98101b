"""Features of texts on their way to a GPU: one copy, from memory that need not be waited for.

A transfer has a cost of its own, as pinning memory has, whatever its size; features of some
thousands of tokens are several small tensors.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_ALIGNMENT = 16  # bytes; any dtype can be viewed there


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return tensors on a device, copied to a GPU all at once and without waiting for it.

    Args:
        tensors: on the CPU, of any dtypes and shapes. Those of no dimension stay on the CPU: what
            reads their numbers would wait for the device.
        device: where they go.
    """
    numbers = {name: each for name, each in tensors.items() if each.ndim == 0}
    arrays = {name: each for name, each in tensors.items() if each.ndim}
    if device.type == "cuda" and arrays:
        return unpack(pack(arrays, pin=True).to(device, non_blocking=True), arrays) | numbers
    return {name: each.to(device) for name, each in arrays.items()} | numbers


def pack(tensors: Mapping[str, Tensor], *, pin: bool = False) -> Tensor:
    """Return the bytes of tensors one after another, uint8, each at a multiple of 16.

    Args:
        tensors: on the CPU.
        pin: whether their memory is pinned, so that a copy from it need not be waited for.
    """
    size = sum(_size(each) for each in tensors.values())
    packed = torch.empty(size, dtype=torch.uint8, pin_memory=pin)
    for mine, each in zip(unpack(packed, tensors).values(), tensors.values(), strict=True):
        mine.copy_(each)
    return packed


def unpack(packed: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return views of what `pack` has made of tensors.

    Args:
        packed: their bytes, on any device.
        like: the tensors, of which names, dtypes and shapes are taken.
    """
    views: dict[str, Tensor] = {}
    begin = 0
    for name, each in like.items():
        part = packed[begin : begin + each.nbytes].view(each.dtype).view(each.shape)
        # Detached so, what is changed in place does not count as a change of the others.
        views[name] = part.data
        begin += _size(each)
    return views


def _size(tensor: Tensor) -> int:
    return -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
