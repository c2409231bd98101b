"""The definition of the loss read literally: each row looks at each column and decides.

Nothing here comes from the package. What a row keeps is decided by loops on Python's numbers; the
sums of what it keeps are torch's, in float64, for the sake of their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = ("query_groups", "query_passage_ids", "mask", "weights", "in_batch", "query_years")
COLUMNS = ("passage_groups", "passage_ids", "passage_years")


def literal_loss(queries, passages, *, weights=None, reduction="mean", **options) -> Tensor:
    """Return what `info_nce` of the same arguments has to return."""
    rows = literal_rows(queries, passages, **options)
    weights = torch.ones_like(rows) if weights is None else weights.double()
    if reduction == "none":
        return weights * rows
    total = weights.sum() if reduction == "mean" and weights.sum() > 0 else 1
    return (weights * rows).sum() / total


def literal_shares(parts: list[dict], *, reduction="mean", **options) -> list[Tensor]:
    """Return what the call of each rank has to return, with its tensors of rows and columns."""
    whole = as_one(parts)
    weights = whole.pop("weights", torch.ones(len(whole["queries"]))).double()
    weighted = weights * literal_rows(**whole, **options)
    rows = weighted.split([len(part["queries"]) for part in parts])
    if reduction == "none":
        return list(rows)
    total = weights.sum() if reduction == "mean" and weights.sum() > 0 else 1
    return [len(parts) * of_rank.sum() / total for of_rank in rows]


def literal_rows(
    queries: Tensor,
    passages: Tensor,
    *,
    temperature: float | Tensor = 0.05,
    symmetric: bool = False,
    normalize: bool = False,
    precision: str | None = None,
    **rules,
) -> Tensor:
    """Return l_i of each row, (B,) in float64."""
    scores = score_matrix(queries, passages, normalize, precision)
    kept = Kept.of(scores, **rules)
    logits = scores / temperature
    rows = []
    for i, column in enumerate(kept.positives):
        columns = [j for j in range(scores.shape[1]) if kept.keeps(i, j)]
        row = torch.logsumexp(logits[i, columns] - logits[i, column], 0)
        if symmetric:
            others = [k for k in range(len(scores)) if kept.keeps_in_reverse(i, k)]
            row = (row + torch.logsumexp(logits[others, column] - logits[i, column], 0)) / 2
        rows.append(row)
    return torch.stack(rows)


def score_matrix(queries, passages, normalize=False, precision=None) -> Tensor:
    """Return the scores before the temperature, in float64; rounding has no gradient."""
    sides = []
    for vectors in (queries, passages):
        exact = vectors.double()
        if normalize:
            exact = exact / exact.norm(dim=1, keepdim=True).clamp(min=1e-12)
        if precision == "bf16":  # of vectors that were normalised in float32
            given = vectors.detach().float()
            used = torch.nn.functional.normalize(given, dim=1) if normalize else given
            exact = used.bfloat16().double() + (exact - exact.detach())
        sides.append(exact)
    return sides[0] @ sides[1].T


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which columns a row keeps and, for `symmetric`, which queries its positive keeps."""

    score: list[list[float]]
    positives: list[int]
    query_groups: list[int] | None
    passage_groups: list[int] | None
    query_passage_ids: list[int] | None
    passage_ids: list[int] | None
    mask: list[list[bool]] | None
    owners: list[int]
    in_batch: list[bool]
    query_years: list[int] | None
    passage_years: list[int] | None
    margin: float | None
    hard_only: bool

    @classmethod
    def of(cls, scores, *, positives=None, owners=None, in_batch=None, negatives="all", margin=None,
           query_groups=None, passage_groups=None, query_passage_ids=None, passage_ids=None,
           mask=None, query_years=None, passage_years=None):  # fmt: skip
        num_queries, num_passages = scores.shape
        positives = list(range(num_queries)) if positives is None else positives.tolist()
        if passage_ids is not None and query_passage_ids is None:
            query_passage_ids = passage_ids[positives]
        given = {
            "query_groups": query_groups, "passage_groups": passage_groups, "mask": mask,
            "query_passage_ids": query_passage_ids, "passage_ids": passage_ids,
            "query_years": query_years, "passage_years": passage_years,
        }  # fmt: skip
        return cls(
            score=scores.tolist(),
            positives=positives,
            owners=[-1] * num_passages if owners is None else owners.tolist(),
            in_batch=[True] * num_queries if in_batch is None else in_batch.tolist(),
            margin=margin,
            hard_only=negatives == "hard_only",
            **{name: None if value is None else value.tolist() for name, value in given.items()},
        )

    def keeps(self, i: int, j: int) -> bool:
        """Tell whether column j is in A_i."""
        if j == self.positives[i]:
            return True
        own = self.owners[j] == i
        if not self.in_batch[i] and not own:
            return False
        if self.query_groups is not None and self.query_groups[i] == self.passage_groups[j] != -1:
            return False
        ids = self.query_passage_ids
        if ids is not None and ids[i] == self.passage_ids[j] != -1:
            return False
        if self.mask is not None and self.mask[i][j]:
            return False
        if self.query_years is not None:  # a rule of one's own, see problem_checks.py
            latest = self.passage_years[self.positives[i]] + self.query_years[i]
            if self.passage_years[j] > latest:
                return False
        highest = self.score[i][self.positives[i]]
        if self.margin is not None and not own and self.score[i][j] > highest + self.margin:
            return False
        return not (self.hard_only and j in self.positives)

    def keeps_in_reverse(self, i: int, k: int) -> bool:
        """Tell whether query k is in A'_i, the candidates of i's positive."""
        if k == i:
            return True
        if not self.in_batch[i] or not self.in_batch[k]:
            return False
        column = self.positives[i]
        return self.positives[k] != column and self.keeps(k, column)


def as_one(parts: list[dict]) -> dict:
    """Return the arguments of one call for the batches of all ranks.

    Args:
        parts: of each rank, arguments of `info_nce` that are tensors, by name, embeddings included.
    """
    first_row = first_column = 0
    pieces: dict[str, list[Tensor]] = {}
    for part in parts:
        num_queries, num_passages = len(part["queries"]), len(part["passages"])
        positives = part.get("positives")
        moved = {"positives": torch.arange(num_queries) if positives is None else positives}
        moved["positives"] = moved["positives"] + first_column
        if "owners" in part:
            owners = part["owners"]
            moved["owners"] = torch.where(owners == -1, -1, owners + first_row)
        for name in ("queries", "passages", *ROWS, *COLUMNS):
            if name in part:
                moved[name] = part[name]
        for name, tensor in moved.items():
            pieces.setdefault(name, []).append(tensor)
        first_row, first_column = first_row + num_queries, first_column + num_passages
    return {name: torch.cat(tensors) for name, tensors in pieces.items()}
