"""Embeddings of a task's texts that a caller made, checked."""

from __future__ import annotations

import numpy as np
import torch

from hybrid_fast.results import RunInfo
from hybrid_fast.retrieval.embeddings import check_finite, to_float32
from hybrid_fast.retrieval.texts import TextCollection

Embeddings = np.ndarray | torch.Tensor


def checked_embeddings(
    task: str,
    queries: TextCollection,
    candidates: TextCollection,
    query_embeddings: Embeddings,
    candidate_embeddings: Embeddings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings as float32 matrices that fit the task's texts and each other.

    Args:
        task: name of the task, for errors.
        queries: its queries.
        candidates: its candidates.
        query_embeddings: array or tensor (len(queries), D) of floats.
        candidate_embeddings: array or tensor (len(candidates), D) of floats.

    Raises:
        TypeError: if one is not an array or tensor of floats.
        ValueError: if a shape does not fit, or a row holds NaN or infinity.
    """
    matrices = []
    for name, given, attribute, texts in (
        ("query_embeddings", query_embeddings, "queries", queries),
        ("candidate_embeddings", candidate_embeddings, "candidates", candidates),
    ):
        if not isinstance(given, Embeddings):
            raise TypeError(
                f"{name}: got a {type(given).__name__}; give a numpy array or a torch tensor"
            )
        matrix = to_float32(given, name)
        if len(matrix) != len(texts):
            raise ValueError(
                f"{name} has {len(matrix)} rows; task {task!r} needs {len(texts)}, "
                f"one for each of task.{attribute}, in that order"
            )
        check_finite(matrix, name, language_of=texts.language_of)
        matrices.append(matrix)
    if matrices[0].shape[1] != matrices[1].shape[1]:
        raise ValueError(
            f"query_embeddings have dim {matrices[0].shape[1]}, candidate_embeddings dim "
            f"{matrices[1].shape[1]}; encode both with the same model"
        )
    return matrices[0], matrices[1]


def with_dtype(info: RunInfo | None, embeddings: Embeddings) -> RunInfo:
    """Return the description of a model, with the dtype of its embeddings unless it has one."""
    dtype = str(embeddings.dtype).removeprefix("torch.")
    return (info or RunInfo()).with_defaults(dtype=dtype)
