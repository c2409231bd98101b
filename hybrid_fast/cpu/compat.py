"""The private names of torch by which products on the CPU reach oneDNN, with their check."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def has_onednn_product() -> bool:
    """Tell whether this torch multiplies float32 matrices by oneDNN when asked to."""
    packet = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if packet is None or not torch.backends.mkldnn.is_available():
        return False
    if not {"default", "binary"} <= set(packet.overloads()):
        return False
    a = torch.arange(6.0, dtype=torch.float32, device="cpu").view(2, 3)
    try:
        return torch.equal(onednn_product_added(a, a, onednn_product(a, a)), a @ a.T * 2)
    except (RuntimeError, TypeError):  # an older or newer schema, or a build without its kernel
        return False


def onednn_product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a b^T + bias, for (M, K), (N, K) and (N,)."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return product


def onednn_product_added(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a b^T + c, for (M, K), (N, K) and (M, N)."""
    total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(a, c, b, None, "add")
    return total
