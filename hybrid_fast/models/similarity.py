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

    Raises:
        ValueError: their shapes are others, or do not fit.
    """
    left, right = (torch.atleast_2d(each) for each in _prepare(first, second, similarity))
    return left @ right.T


def score_pairs(first: Vectors, second: Vectors, similarity: Similarity) -> Tensor:
    """Return the similarity of each embedding to that at its place in others, (n,).

    Args:
        first: float (n, D), or (D,) of a single embedding.
        second: of the same shape; one of them may be a single embedding.
        similarity: cosine or dot product.

    Raises:
        ValueError: their shapes are others, or do not fit.
    """
    left, right = _prepare(first, second, similarity)
    if (
        left.ndim == right.ndim == 2
        and len(left) != len(right)
        and 1 not in (len(left), len(right))
    ):
        raise ValueError(
            f"there are {len(left)} and {len(right)} embeddings; as many of both are needed"
        )
    return (left * right).sum(-1)


def _prepare(first: Vectors, second: Vectors, similarity: Similarity) -> tuple[Tensor, Tensor]:
    left, right = as_tensor(first), as_tensor(second)
    shapes = left.shape, right.shape
    if not all(len(shape) in (1, 2) for shape in shapes) or shapes[0][-1] != shapes[1][-1]:
        given = " and ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(
            f"the embeddings have the shapes {given}; (n, D) or (D,) is needed, with one D for both"
        )
    dtype = torch.promote_types(torch.promote_types(left.dtype, right.dtype), torch.float32)
    left, right = left.to(dtype), right.to(dtype)
    if similarity == "cosine":
        return normalize(left, dim=-1), normalize(right, dim=-1)
    return left, right


def as_tensor(vectors: Vectors) -> Tensor:
    """Return embeddings as one tensor, without a copy where they are an array or a tensor."""
    if isinstance(vectors, Tensor):
        return vectors
    if isinstance(vectors, np.ndarray):  # copied if it is read-only
        return torch.from_numpy(np.require(vectors, requirements="W"))
    if isinstance(vectors, Sequence) and vectors and isinstance(vectors[0], Tensor | np.ndarray):
        return torch.stack([as_tensor(each) for each in vectors])  # type: ignore[arg-type]
    return torch.tensor(vectors)
