"""Embeddings in fewer bits, as sentence-transformers quantises them: int8, uint8, binary, ubinary.

An entry of int8 or uint8 is the number of its bucket, of 256 between the smallest and the largest
value of its dimension. Of the binary ones each bit says whether an entry is positive, eight to a
byte; int8 and binary are uint8 and ubinary less 128.
"""

from __future__ import annotations

import logging
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from hybrid_fast.common.choices import check_choice
from hybrid_fast.models.similarity import Vectors, as_tensor

logger = logging.getLogger(__name__)

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
_FEWEST_STABLE = 100  # embeddings from which ranges are taken without a warning


def check_precision(precision: object) -> Precision:
    """Return the precision of embeddings; None is float32.

    Raises:
        ValueError: it is none that is known.
    """
    if precision is None:
        return "float32"
    return check_choice("precision", precision, get_args(Precision))


def quantize_embeddings(
    embeddings: Vectors, precision: Precision, ranges: np.ndarray | None = None
) -> np.ndarray:
    """Return embeddings in a precision.

    Args:
        embeddings: float (n, D), an array, a tensor or a list of them.
        precision: see the module.
        ranges: for int8 and uint8, (2, D): the smallest and the largest value of each dimension;
            default those of the embeddings.

    Returns:
        (n, D) of float32, int8 or uint8; of binary int8 and of ubinary uint8, (n, ceil(D / 8)).

    Raises:
        TypeError: they are not of floats, as those that are quantised already.
        ValueError: an unknown precision, or ranges are to be taken from a single embedding.
    """
    precision = check_precision(precision)
    embeddings = _as_array(embeddings)
    if precision == "float32":
        return embeddings.astype(np.float32)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings > 0, axis=-1)
    else:
        bits = _buckets(embeddings, _ranges(embeddings, precision) if ranges is None else ranges)
    is_signed = precision in ("binary", "int8")
    return (bits.astype(np.int16) - 128).astype(np.int8) if is_signed else bits


def _as_array(embeddings: Vectors) -> np.ndarray:
    tensor = as_tensor(embeddings)
    if not tensor.is_floating_point():
        raise TypeError(f"embeddings are of {tensor.dtype}; floats are needed to be quantised")
    if tensor.dtype == torch.bfloat16:  # which NumPy does not have
        tensor = tensor.float()
    return tensor.numpy(force=True)


def _buckets(embeddings: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    smallest, largest = ranges.astype(np.float32, copy=False)
    steps = (largest - smallest) / 255
    steps = np.where(steps == 0, 1, steps)
    return np.clip(np.floor((embeddings - smallest) / steps), 0, 255).astype(np.uint8)


def _ranges(embeddings: np.ndarray, precision: str) -> np.ndarray:
    if not len(embeddings):
        return np.zeros((2, embeddings.shape[-1]), embeddings.dtype)
    if len(embeddings) == 1:
        raise ValueError(
            f"the ranges of {precision} cannot be taken from a single embedding; encode more texts "
            "in one call, or quantise float32 embeddings by ranges of many: "
            "hybrid_fast.models.quantisation.quantize_embeddings(embeddings, precision, ranges)"
        )
    if len(embeddings) < _FEWEST_STABLE:
        logger.warning(
            "The ranges of %s are taken from %d embeddings; they are more stable from at least %d.",
            precision,
            len(embeddings),
            _FEWEST_STABLE,
        )
    return np.vstack((embeddings.min(axis=0), embeddings.max(axis=0)))


def converted(
    embeddings: Tensor, precision: Precision, *, to_numpy: bool, to_tensor: bool
) -> np.ndarray | Tensor | list[Tensor]:
    """Return embeddings in a precision, as one array, one tensor or a list of tensors.

    Args:
        embeddings: float (n, D).
        precision: see `quantize_embeddings`.
        to_numpy: whether an array is wanted.
        to_tensor: whether a tensor is wanted.

    Raises:
        ValueError: as `quantize_embeddings`.
    """
    if not len(embeddings):
        if to_tensor:
            return torch.tensor([], device=embeddings.device)
        return np.array([]) if to_numpy else []
    if precision != "float32":
        quantised = quantize_embeddings(embeddings.float(), precision)
        embeddings = torch.from_numpy(quantised)
    if to_tensor:
        return embeddings
    return embeddings.numpy() if to_numpy else list(embeddings)
