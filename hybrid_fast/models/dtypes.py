"""Dtypes of weights: names, what they cost on a CPU, and the widening of half precision."""

from __future__ import annotations

import logging
from typing import Literal

import torch
from torch import nn

from hybrid_fast.common.choices import check_choice
from hybrid_fast.cpu import say_if_emulated
from hybrid_fast.models.dtype_boundary import (
    HALF,
    forget_conversions,
    keep_below_adapter,
    keep_frozen_layers,
)

logger = logging.getLogger(__name__)
Dtype = torch.dtype | str
_SHORT_NAMES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32"}
_NAMES = ("auto", "float32", "bfloat16", "float16", "float64")


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
    return " ".join(sorted({dtype_name(p.dtype) for p in module.parameters()}))


def say_if_asked_slow(dtype: Dtype | None, device: torch.device) -> None:
    """Warn if weights are asked for in a dtype that this CPU emulates, see `say_if_emulated`.

    Nothing is said where there is an accelerator, which a model may be moved to.

    Args:
        dtype: as the caller gave it.
        device: where the weights are.
    """
    asked = check_dtype(dtype)
    if asked != "auto" and device.type == "cpu" and not torch.accelerator.is_available():
        say_if_emulated(asked, f"dtype={str(dtype)!r}", "Set dtype='float32'")


def say_if_slow(module: nn.Module) -> None:
    """Warn if a module on a CPU that emulates it is about to compute in half precision.

    Args:
        module: the first of its weights stands for all.
    """
    weight = next(module.parameters(), None)
    if weight is None or weight.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        say_if_emulated(dtype, f"autocast to {dtype_name(dtype)}", "Leave autocast out")
    else:
        instead = "Load the model with dtype='float32', or call its float()"
        say_if_emulated(weight.dtype, f"weights in {dtype_name(weight.dtype)}", instead)


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype, such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def widen_trainable(module: nn.Module, autocast: torch.dtype | None = None) -> None:
    """Widen weights in half precision to float32, in place, so that small updates are not lost.

    Frozen weights stay as they are below an adapter, see `keep_below_adapter`, and in the layers
    below all trained weights, see `keep_frozen_layers`. Elsewhere they are widened too, since
    layers of two dtypes do not follow one another.

    Args:
        module: an encoder.
        autocast: the dtype that training computes in by autocast, if it does.
    """
    before = dtype_names(module)
    forget_conversions(module)
    kept = _kept(module, autocast)
    half = [weight for weight in module.parameters() if weight.dtype in HALF]
    widened = [weight for weight in half if id(weight) not in kept]
    buffers = [each for each in module.buffers() if each.dtype in HALF and id(each) not in kept]
    for tensor in (*widened, *buffers):
        tensor.data = tensor.data.float()
    if widened:
        logger.info(
            "%d weights of the encoder are widened from %s to float32 for training; with bf16 or "
            "fp16 it computes in half precision nevertheless.",
            len(widened),
            before,
        )
    if len(half) > len(widened):
        logger.info(
            "%d frozen weights of the encoder stay in half precision, and compute in it.",
            len(half) - len(widened),
        )


def _kept(module: nn.Module, autocast: torch.dtype | None) -> set[int]:
    """Return the ids of the weights and buffers that stay."""
    adapted = next((each for each in module.modules() if getattr(each, "peft_config", None)), None)
    if adapted is None:
        return keep_frozen_layers(module, autocast) if hasattr(module, "backbone") else set()
    frozen = (weight for weight in adapted.parameters() if not weight.requires_grad)
    if autocast is not None and any(weight.dtype in {*HALF} - {autocast} for weight in frozen):
        return set()  # autocast would convert a part of what they take
    return keep_below_adapter(adapted)
