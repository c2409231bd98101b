"""Tensors as the C++ core takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt


def array_of(tensor: Tensor) -> npt.NDArray[Any]:
    """Return the numbers of a tensor on the CPU where they lie, bfloat16 as uint16.

    The core checks dtype, shape and layout, and names what it cannot take. Numbers that do not lie
    at multiples of their size, as in some files, it does not read: these are copied, and the copy
    is read-only, so that nothing is written to it and lost.
    """
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    array = tensor.numpy()
    if not array.flags.aligned:
        array = array.copy()
        array.flags.writeable = False
    return array
