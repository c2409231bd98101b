"""The similarities that embeddings are compared by, under the names that they have elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

Vectors = Tensor | np.ndarray | Sequence[Tensor] | Sequence[np.ndarray] | Sequence[Sequence[float]]
Similarity = Literal["cosine", "dot"]

# sentence-transformers saves "cosine" and "dot"; its evaluators, BEIR, mteb and stores of vectors
# spell them otherwise.
_NAMES: dict[str, Similarity] = {
    **dict.fromkeys(("cosine", "cos", "cos_sim", "cosine_similarity"), "cosine"),
    **dict.fromkeys(("dot", "dot_score", "dot_product", "inner_product", "ip"), "dot"),
}


def check_similarity(name: str, value: object, remedy: str = "") -> Similarity:
    """Return a similarity by our name; None is "cosine", as sentence-transformers reads it.

    Args:
        name: of what says so, for the message.
        value: a name or an enum of names, such as "cos_sim".
        remedy: what to do about one that is not supported.

    Raises:
        ValueError: any other similarity or distance.
    """
    if value is None:
        return "cosine"
    text = value.value if isinstance(value, Enum) else value
    known = _NAMES.get(str(text).lower().replace("-", "_"))
    if known is None:
        raise ValueError(
            f"{name} is {text!r}; it must be one of 'cosine', 'dot', since texts are ranked by "
            f"products of their embeddings{remedy}"
        )
    return known


def score_all(first: Vectors, second: Vectors, similarity: Similarity) -> Tensor:
    """Return the similarity of each of some embeddings to each of others.

    Args:
        first: float (n, D), or (D,) of a single embedding.
        second: float (m, D) or (D,).
        similarity: cosine or dot product.

    Returns:
        float (n, m), at least float32.
    """
    left, right = (torch.atleast_2d(each) for each in _prepare(first, second, similarity))
    return left @ right.T


def score_pairs(first: Vectors, second: Vectors, similarity: Similarity) -> Tensor:
    """Return the similarity of each embedding to that at its place in others, (n,).

    Args:
        first: float (n, D), or (D,) of a single embedding.
        second: of the same shape.
        similarity: cosine or dot product.
    """
    left, right = _prepare(first, second, similarity)
    return (left * right).sum(-1)


def _prepare(first: Vectors, second: Vectors, similarity: Similarity) -> tuple[Tensor, Tensor]:
    left, right = _as_tensor(first), _as_tensor(second)
    dtype = torch.promote_types(torch.promote_types(left.dtype, right.dtype), torch.float32)
    left, right = left.to(dtype), right.to(dtype)
    if similarity == "cosine":
        return normalize(left, dim=-1), normalize(right, dim=-1)
    return left, right


def _as_tensor(vectors: Vectors) -> Tensor:
    if isinstance(vectors, Tensor):
        return vectors
    if isinstance(vectors, np.ndarray):  # copied where it may not be written to
        return torch.from_numpy(np.require(vectors, requirements="W"))
    if vectors and isinstance(vectors[0], Tensor | np.ndarray):
        return torch.stack([_as_tensor(each) for each in vectors])  # type: ignore[arg-type]
    return torch.tensor(vectors)
