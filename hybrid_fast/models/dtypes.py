"""Dtypes of weights: their names, and the widening of half precision for training."""

from __future__ import annotations

import logging
from typing import Literal

import torch
from torch import nn

from hybrid_fast.common.choices import check_choice

logger = logging.getLogger(__name__)
Dtype = torch.dtype | str
_SHORT_NAMES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32"}
_NAMES = ("auto", "float32", "bfloat16", "float16", "float64")
_HALF = (torch.float16, torch.bfloat16)


def check_dtype(dtype: Dtype | None) -> torch.dtype | Literal["auto"]:
    """Return a dtype by its name; None and "auto" are the dtype of the folder.

    Args:
        dtype: such as torch.bfloat16, "bfloat16", "torch.bfloat16" or "bf16".

    Raises:
        ValueError: it is no dtype of floating-point weights.
    """
    name = "auto" if dtype is None else str(dtype).removeprefix("torch.")
    name = check_choice("dtype", _SHORT_NAMES.get(name, name), _NAMES)
    return "auto" if name == "auto" else getattr(torch, name)


def dtype_names(module: nn.Module) -> str:
    """Return the names of the dtypes of a module's parameters, separated by spaces."""
    return " ".join(sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters()}))


def widen_trainable(module: nn.Module) -> None:
    """Widen weights in half precision to float32, in place, so that small updates are not lost.

    Frozen weights below an adapter stay as they are: the adapter converts what it takes from them.
    Without adapters frozen weights are widened too, since layers of two dtypes do not follow one
    another.
    """
    before = dtype_names(module)
    keeps_frozen = any(getattr(each, "peft_config", None) for each in module.modules())
    weights = [
        weight
        for weight in module.parameters()
        if weight.dtype in _HALF and (weight.requires_grad or not keeps_frozen)
    ]
    for weight in weights:
        weight.data = weight.data.float()
    if not keeps_frozen:
        for buffer in module.buffers():
            if buffer.dtype in _HALF:
                buffer.data = buffer.data.float()
    if weights:
        logger.info(
            "%d weights of the encoder are widened from %s to float32 for training; with bf16 or "
            "fp16 it computes in half precision nevertheless.",
            len(weights),
            before,
        )
