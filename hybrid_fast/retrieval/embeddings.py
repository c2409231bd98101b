"""Embeddings as float32 matrices: converted, checked, normalised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

# Under which the dense embeddings stand where a model returns other kinds too, as BGE-M3 does.
_DENSE_KEYS = ("dense_vecs", "dense", "sentence_embedding")


def to_float32(embeddings: object, name: str) -> np.ndarray:
    """Return embeddings as a contiguous float32 array, without a copy if they are one.

    Args:
        embeddings: floats of any width: a numpy array or torch tensor (n, D), on any device, dense
            or sparse; n arrays, tensors or lists (D,), in a list, tuple or iterator; or a dict of
            kinds of embeddings, such as BGE-M3's, with a dense one among them.
        name: what to call them in errors.

    Raises:
        TypeError: if they are nothing of that, or not of floats.
        ValueError: if they are not a matrix with at least one column.
    """
    array = _as_array(embeddings, name)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{name}: got dtype {array.dtype}; floating-point numbers are needed")
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"{name}: got shape {array.shape}; a matrix (n, D) is needed")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        return np.ascontiguousarray(array, dtype=np.float32)


def _as_array(embeddings: object, name: str) -> np.ndarray:
    if isinstance(embeddings, np.ndarray):
        return embeddings
    if isinstance(embeddings, torch.Tensor):
        return _from_tensor(embeddings)
    if isinstance(embeddings, Mapping):
        for key in _DENSE_KEYS:
            if key in embeddings:
                return _as_array(embeddings[key], name)
        keys = ", ".join(map(str, embeddings)) or "no keys"
        raise TypeError(f"{name}: got a dict of {keys}; embeddings are needed, or {_DENSE_KEYS[0]}")
    if isinstance(embeddings, list | tuple | Iterator):
        return _stack(list(embeddings), name)
    raise TypeError(
        f"{name}: got a {type(embeddings).__name__}; give a numpy array or a torch tensor, or a "
        "list of them"
    )


def _from_tensor(embeddings: torch.Tensor) -> np.ndarray:
    if embeddings.layout != torch.strided:
        embeddings = embeddings.to_dense()
    if embeddings.is_floating_point():
        embeddings = embeddings.detach().to("cpu", torch.float32)
    return embeddings.numpy(force=True)


def _stack(rows: list[object], name: str) -> np.ndarray:
    arrays = [_from_tensor(row) if isinstance(row, torch.Tensor) else row for row in rows]
    try:
        return np.asarray(arrays)
    except ValueError as error:
        raise ValueError(
            f"{name}: got {len(rows)} rows of different shapes; one embedding (D,) a text is needed"
        ) from error


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
    norms[norms == 0] = 1
    with np.errstate(invalid="ignore"):  # infinity / infinity is NaN, which `check_finite` refuses
        return np.divide(embeddings, norms, out=np.empty_like(embeddings), casting="same_kind")


def squared_norms(embeddings: np.ndarray) -> np.ndarray:
    """Return the squared norm of each row, float64 (n,); not finite where an entry is not."""
    return np.einsum("nd,nd->n", embeddings, embeddings, dtype=np.float64)
