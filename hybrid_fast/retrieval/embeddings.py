"""Embeddings as float32 matrices: converted, checked, normalised."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


def to_float32(embeddings: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """Return embeddings as a contiguous float32 array, without a copy if they are one.

    Args:
        embeddings: numpy array or torch tensor (n, D) of floats of any width, on any device.
        name: what to call them in errors.

    Raises:
        TypeError: if they are neither an array nor a tensor, or not of floats.
        ValueError: if they are not a matrix with at least one column.
    """
    if isinstance(embeddings, torch.Tensor):
        if embeddings.is_floating_point():
            embeddings = embeddings.detach().to("cpu", torch.float32)
        embeddings = embeddings.numpy(force=True)
    if not isinstance(embeddings, np.ndarray):
        raise TypeError(
            f"{name}: got a {type(embeddings).__name__}; give a numpy array or a torch tensor"
        )
    if not np.issubdtype(embeddings.dtype, np.floating):
        raise TypeError(f"{name}: got dtype {embeddings.dtype}; floating-point numbers are needed")
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise ValueError(f"{name}: got shape {embeddings.shape}; a matrix (n, D) is needed")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        return np.ascontiguousarray(embeddings, dtype=np.float32)


def check_finite(
    embeddings: np.ndarray,
    name: str,
    rows: np.ndarray | None = None,
    language_of: Callable[[int], str] | None = None,
) -> None:
    """Raise a ValueError that names the first row with NaN or infinity.

    Args:
        embeddings: float32 (n, D).
        name: what to call them.
        rows: the number of each row, int64 (n,), if they are some of many; default its position.
        language_of: returns the language of the text of a number.
    """
    bad = np.flatnonzero(~np.isfinite(squared_norms(embeddings)))
    if bad.size:
        row = int(bad[0] if rows is None else rows[bad].min())
        language = f" (language {language_of(row)})" if language_of is not None else ""
        raise ValueError(
            f"{name}: row {row}{language} holds NaN or infinity ({bad.size} of {len(embeddings)} "
            "rows); encode in a wider dtype, or check the model"
        )


def normalize_rows(embeddings: np.ndarray) -> np.ndarray:
    """Return the rows with norm 1, float32 (n, D); rows of zeros stay, and so does NaN."""
    norms = np.sqrt(squared_norms(embeddings))[:, None]
    with np.errstate(invalid="ignore"):  # infinity / infinity is NaN, which `check_finite` refuses
        return np.divide(embeddings, norms, out=np.zeros_like(embeddings), where=norms != 0)


def squared_norms(embeddings: np.ndarray) -> np.ndarray:
    """Return the squared norm of each row, float64 (n,); not finite where an entry is not."""
    return np.einsum("nd,nd->n", embeddings, embeddings, dtype=np.float64)
