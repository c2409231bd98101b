"""Tensors as the C++ core takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt


def array_of(tensor: Tensor) -> npt.NDArray[Any]:
    """Return the numbers of a tensor on the CPU where they lie, bfloat16 as uint16.

    The core checks dtype, shape and layout, and names what it cannot take.
    """
    if tensor.requires_grad:
        tensor = tensor.detach()
    if tensor.dtype is torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    return tensor.numpy()
