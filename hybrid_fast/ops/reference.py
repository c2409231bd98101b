"""The definition of the InfoNCE loss in plain torch, against which all faster paths are tested.

For row i with positive column c(i), scores s_ij = <q_i, p_j> and temperature t:

    l_i = log sum_{j in A_i} exp(s_ij / t) - s_{i,c(i)} / t

A_i is all columns except those of `excluded_columns`. Scores, logits and loss are float32 (float64
for float64 embeddings), also under autocast. Memory O(B N): scores, logits and their gradients are
materialised.

Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018,
equation 4 (arXiv 1807.03748).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops.inputs import InfoNCEInputs


def info_nce_reference(inputs: InfoNCEInputs, coefficients: Tensor) -> Tensor:
    """Compute coefficient_i * l_i for each row, or their sum.

    Args:
        inputs: checked.
        coefficients: (B,), from `row_coefficients`.

    Returns:
        (B,) for reduction "none", else 0-dim; of `inputs.compute_dtype`.
    """
    # Autocast would compute the scores in half precision.
    with without_autocast(inputs.queries):
        scores = score_matrix(inputs)
        logits = scores / _in_dtype(inputs.temperature, scores.dtype)
        excluded = excluded_columns(inputs, scores)
        losses = _contrast(logits, inputs.positives, excluded)
        if inputs.symmetric:
            losses = (losses + _passage_to_query(logits, inputs.positives, excluded)) / 2
        weighted = coefficients * losses
        return weighted if inputs.reduction == "none" else weighted.sum()


def without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """Return a context without autocast on the tensor's device; not all kinds of device have it."""
    device_type = tensor.device.type
    available = torch.amp.is_autocast_available(device_type)
    if not available or not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def row_weights(inputs: InfoNCEInputs) -> Tensor:
    """Return w_i, (B,) of the compute dtype; ones if no weights were given."""
    if inputs.weights is None:
        return inputs.queries.new_ones(len(inputs.queries), dtype=inputs.compute_dtype)
    return inputs.weights.to(inputs.compute_dtype)


def row_coefficients(weights: Tensor, total_weight: Tensor, reduction: str) -> Tensor:
    """Return a_i, (B,): w_i, for "mean" w_i / total_weight, or 0 if all weights are 0."""
    if reduction != "mean":
        return weights
    return weights / torch.where(total_weight > 0, total_weight, 1)


def score_matrix(inputs: InfoNCEInputs) -> Tensor:
    """Return the scores before temperature (B, N): dot products, with `normalize` cosines."""
    queries = inputs.queries.to(inputs.compute_dtype)
    passages = inputs.passages.to(inputs.compute_dtype)
    if inputs.normalize:
        queries, passages = F.normalize(queries, dim=1), F.normalize(passages, dim=1)
    return queries @ passages.T


def excluded_columns(inputs: InfoNCEInputs, scores: Tensor) -> Tensor | None:
    """Return bool (B, N), True where column j is not in A_i; None if nothing excludes columns.

    Column j is excluded if it has i's group or the passage id of i's positive (-1 matches nothing),
    if the mask is True, if it scores more than `margin` above the positive and, for "hard_only", if
    it is any row's positive. The row's positive is never excluded.
    """
    positives, masks = inputs.positives, []
    if inputs.query_groups is not None and inputs.passage_groups is not None:
        masks.append(_equal_ids(inputs.query_groups, inputs.passage_groups))
    if inputs.passage_ids is not None:
        given = inputs.query_passage_ids
        row_ids = inputs.passage_ids[positives] if given is None else given
        masks.append(_equal_ids(row_ids, inputs.passage_ids))
    if inputs.mask is not None:
        masks.append(inputs.mask)
    if inputs.margin is not None:
        scores = scores.detach()
        masks.append(scores > scores.gather(1, positives[:, None]) + inputs.margin)
    if inputs.negatives == "hard_only":
        is_positive = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
        masks.append(is_positive.index_fill(0, inputs.all_positives, True).expand_as(scores))
    if not masks:
        return None
    return reduce(torch.logical_or, masks).scatter(1, positives[:, None], False)


def excluded_queries(
    excluded: Tensor | None, positives: Tensor, all_positives: Tensor, first_row: int = 0
) -> Tensor:
    """Return bool (B, M), True where query k is not in A'_i, the candidates of i's positive.

    Query k is excluded if it has i's positive column too, or excludes that column from its own row;
    query i itself never is.

    Args:
        excluded: of `excluded_columns`, rows k.
        positives: int64 (B,), of the queries k.
        all_positives: int64 (M,), of the queries i.
        first_row: position of the first query k among the queries i.
    """
    result = positives[:, None] == all_positives[None, :]
    if excluded is not None:
        result = result | excluded[:, all_positives]
    rows = torch.arange(first_row, first_row + len(positives), device=positives.device)
    return result.scatter(1, rows[:, None], False)


def _passage_to_query(logits: Tensor, positives: Tensor, excluded: Tensor | None) -> Tensor:
    columns = logits[:, positives]  # (B, B), [k, i] = s_{k,c(i)} / t
    rows = torch.arange(len(positives), device=positives.device)
    return _contrast(columns.T, rows, excluded_queries(excluded, positives, positives).T)


def _contrast(logits: Tensor, positives: Tensor, excluded: Tensor | None) -> Tensor:
    if excluded is not None:
        logits = logits.masked_fill(excluded, float("-inf"))
    # Not logsumexp minus the positive, which loses the digits of a small loss with large logits.
    return F.cross_entropy(logits, positives, reduction="none")


def _equal_ids(row_ids: Tensor, column_ids: Tensor) -> Tensor:
    return (row_ids[:, None] == column_ids[None, :]) & (row_ids != -1)[:, None]


def _in_dtype(temperature: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    return temperature.to(dtype) if isinstance(temperature, Tensor) else float(temperature)
