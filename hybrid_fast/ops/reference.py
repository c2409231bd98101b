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

from hybrid_fast.ops.negative_mask import NegativeMask
from hybrid_fast.ops.problem import Problem, number_tensor


def info_nce_reference(problem: Problem, coefficients: Tensor) -> Tensor:
    """Compute coefficient_i * l_i for each row, or their sum.

    Args:
        problem: settled.
        coefficients: (B,), from `row_coefficients`.

    Returns:
        (B,) for reduction "none", else 0-dim; of `problem.compute_dtype`.
    """
    # Autocast would compute the scores in half precision.
    with without_autocast(problem.queries):
        scores = score_matrix(problem)
        logits = scores / problem.temperature
        positives, mask = problem.positive_columns(), problem.negative_mask
        excluded = excluded_columns(mask, positives, scores)
        losses = _contrast(logits, positives, excluded)
        if problem.symmetric:
            others = _passage_to_query(logits, positives, excluded, mask.in_batch)
            losses = (losses + others) / 2
        weighted = coefficients * losses
        return weighted if problem.reduction == "none" else weighted.sum()


def without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """Return a context without autocast on the tensor's device; not all kinds of device have it."""
    device_type = tensor.device.type
    available = torch.amp.is_autocast_available(device_type)
    if not available or not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def row_weights(problem: Problem) -> Tensor:
    """Return w_i, (B,) of the compute dtype; ones if no weights were given."""
    if problem.weights is None:
        return problem.queries.new_ones(len(problem.queries), dtype=problem.compute_dtype)
    return problem.weights.to(problem.compute_dtype)


def row_coefficients(weights: Tensor, total_weight: Tensor, reduction: str) -> Tensor:
    """Return a_i, (B,): w_i, for "mean" w_i / total_weight, or 0 if all weights are 0."""
    if reduction != "mean":
        return weights
    return weights / torch.where(total_weight > 0, total_weight, 1)


def local_coefficients(problem: Problem) -> Tensor:
    """Return a_i, (B,), of a loss that no other rank has a share of; 0-dim if all are the same."""
    if problem.weights is not None:
        weights = row_weights(problem)
        return row_coefficients(weights, weights.sum(), problem.reduction)
    each = 1 / problem.queries.shape[0] if problem.reduction == "mean" else 1.0
    if torch.compiler.is_compiling():
        return problem.queries.new_full((len(problem.queries),), each, dtype=problem.compute_dtype)
    return number_tensor(each, problem.queries)


def score_matrix(problem: Problem) -> Tensor:
    """Return the scores before temperature (B, N): dot products, with `normalize` cosines."""
    queries = problem.queries.to(problem.compute_dtype)
    passages = problem.passages.to(problem.compute_dtype)
    if problem.normalize:
        queries, passages = F.normalize(queries, dim=1), F.normalize(passages, dim=1)
    return queries @ passages.T


def excluded_columns(mask: NegativeMask, positives: Tensor, scores: Tensor) -> Tensor | None:
    """Return bool (R, N), True where column j is not in A_i; None if nothing excludes columns.

    Column j is excluded if it has i's group or the passage id of i's positive (-1 matches nothing),
    if `mask`, `excluded_columns` or one of `rules` say so, and, unless row i owns it, if it scores
    more than `margin` above the positive or `in_batch` is False for i. The row's positive is never
    excluded.

    Args:
        mask: of the rows.
        positives: int64 (R,), their positive columns.
        scores: (R, N), before temperature.
    """
    parts = [rule.checked(positives, scores.shape[1]) for rule in mask.rules]
    if mask.query_groups is not None and mask.passage_groups is not None:
        parts.append(_equal_ids(mask.query_groups, mask.passage_groups))
    if mask.query_passage_ids is not None and mask.passage_ids is not None:
        parts.append(_equal_ids(mask.query_passage_ids, mask.passage_ids))
    if mask.mask is not None:
        parts.append(mask.mask)
    if mask.excluded_columns is not None:
        parts.append(mask.excluded_columns.expand_as(scores))
    if mask.margin is not None:
        scores = scores.detach()
        limits = scores.gather(1, positives[:, None]) + mask.margin
        parts.append((scores > limits) & _not_owned(mask, scores))
    if mask.in_batch is not None:
        parts.append(~mask.in_batch[:, None] & _not_owned(mask, scores))
    if not parts:
        return None
    return reduce(torch.logical_or, parts).scatter(1, positives[:, None], False)


def excluded_queries(
    excluded: Tensor | None,
    positives: Tensor,
    all_positives: Tensor,
    in_batch: Tensor | None,
    first_row: int = 0,
) -> Tensor:
    """Return bool (B, M), True where query k is not in A'_i, the candidates of i's positive.

    Query k is excluded if it has i's positive column too, excludes that column from its own row, or
    has `in_batch` False; query i itself never is.

    Args:
        excluded: of `excluded_columns`, rows k.
        positives: int64 (B,), of the queries k.
        all_positives: int64 (M,), of the queries i.
        in_batch: bool (B,), of the queries k.
        first_row: position of the first query k among the queries i.
    """
    result = positives[:, None] == all_positives[None, :]
    if excluded is not None:
        result = result | excluded[:, all_positives]
    if in_batch is not None:
        result = result | ~in_batch[:, None]
    rows = torch.arange(first_row, first_row + len(positives), device=positives.device)
    return result.scatter(1, rows[:, None], False)


def _passage_to_query(
    logits: Tensor, positives: Tensor, excluded: Tensor | None, in_batch: Tensor | None
) -> Tensor:
    columns = logits[:, positives]  # (B, B), [k, i] = s_{k,c(i)} / t
    rows = torch.arange(len(positives), device=positives.device)
    others = excluded_queries(excluded, positives, positives, in_batch).T
    losses = _contrast(columns.T, rows, others)
    return losses if in_batch is None else losses.where(in_batch, 0)


def _contrast(logits: Tensor, positives: Tensor, excluded: Tensor | None) -> Tensor:
    if excluded is not None:
        logits = logits.masked_fill(excluded, float("-inf"))
    # Not logsumexp minus the positive, which loses the digits of a small loss with large logits.
    return F.cross_entropy(logits, positives, reduction="none")


def _not_owned(mask: NegativeMask, scores: Tensor) -> Tensor:
    """Return bool (R, N), True where a column is no hard negative of the row itself."""
    if mask.owners is None:
        return torch.ones_like(scores, dtype=torch.bool)
    rows = torch.arange(len(scores), device=scores.device)
    return mask.owners[None, :] != rows[:, None]


def _equal_ids(row_ids: Tensor, column_ids: Tensor) -> Tensor:
    return (row_ids[:, None] == column_ids[None, :]) & (row_ids != -1)[:, None]
