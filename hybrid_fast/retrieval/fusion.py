"""Fusion of a sparse and a dense ranking: by weighted scores or by reciprocal ranks.

Both use only the first candidates of each ranking, as if they came from a search engine. Candidates
that are in neither ranking get the same score, at most that of the last fused candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from hybrid_fast import _core
from hybrid_fast.data.formats.trec_runs import Run, load_run
from hybrid_fast.retrieval.scores import ScoreRows

DEPTH = 1000
RRF_K = 60


class FirstCandidates(NamedTuple):
    """The first candidates of some queries, best first, equal scores by position.

    Attributes:
        columns: their positions, int64 (n, depth).
        scores: their scores, float32 (n, depth); minus infinity beyond the last candidate.
    """

    columns: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, depth: int) -> FirstCandidates:
        """Take them from scores, float32 (n, num_candidates); minus infinity means not found.

        Raises:
            ValueError: if `depth` is below 1.
        """
        if depth < 1:
            raise ValueError(f"depth is {depth}; it must be at least 1")
        depth = min(depth, scores.shape[1])
        columns = _core.find_first(scores, depth, num_threads=torch.get_num_threads())
        return cls(columns, np.take_along_axis(scores, columns, axis=1))

    @property
    def found(self) -> np.ndarray:
        """Where there is a candidate, bool (n, depth)."""
        return self.scores > -np.inf

    def spread(self, values: np.ndarray, num_candidates: int, elsewhere: np.ndarray) -> np.ndarray:
        """Return `values`, (n, depth), in their columns of float64 (n, num_candidates).

        The other columns hold `elsewhere`, (n,).
        """
        spread = np.repeat(elsewhere[:, None], num_candidates, axis=1)
        rows, places = np.nonzero(self.found)
        spread[rows, self.columns[rows, places]] = values[rows, places]
        return spread


# From sparse and dense first candidates and num_candidates to scores, float64 (n, num_candidates).
FusionRule = Callable[[FirstCandidates, FirstCandidates, int], np.ndarray]


def weighted_scores(
    sparse: FirstCandidates, dense: FirstCandidates, num_candidates: int, alpha: float = 1.0
) -> np.ndarray:
    """Fuse by the rule of Mr. TyDi (arXiv 2108.08787): sparse + alpha * dense.

    The scores s of each ranking become (s - (max + min) / 2) / (max - min): from -0.5 to 0.5, and 0
    if all are equal. A candidate that a ranking lacks gets the minimum of that ranking.

    Args:
        sparse: first candidates of n queries.
        dense: first candidates of the same queries.
        num_candidates: number of columns.
        alpha: weight of the dense ranking.

    Returns:
        float64 (n, num_candidates).
    """
    return _scaled(sparse, num_candidates) + alpha * _scaled(dense, num_candidates)


def _scaled(first: FirstCandidates, num_candidates: int) -> np.ndarray:
    scores, found = first.scores.astype(np.float64), first.found
    high = np.where(found, scores, -np.inf).max(axis=1, keepdims=True)
    low = np.where(found, scores, np.inf).min(axis=1, keepdims=True)
    varies = high > low
    low, high = np.where(varies, low, 0), np.where(varies, high, 1)
    scaled = np.where(found & varies, (scores - (low + high) / 2) / (high - low), 0)
    return first.spread(scaled, num_candidates, np.where(varies[:, 0], -0.5, 0.0))


def reciprocal_ranks(
    sparse: FirstCandidates, dense: FirstCandidates, num_candidates: int, k: int = RRF_K
) -> np.ndarray:
    """Fuse by reciprocal ranks: the sum of 1 / (k + rank) (Cormack, Clarke and Büttcher 2009).

    A ranking that lacks a candidate adds nothing. For the arguments see `weighted_scores`.
    """
    fused = np.zeros((len(sparse.columns), num_candidates))
    for first in (sparse, dense):
        by_rank = 1 / (k + 1.0 + np.arange(first.columns.shape[1]))
        values = np.broadcast_to(by_rank, first.columns.shape)
        fused += first.spread(values, num_candidates, np.zeros(len(fused)))
    return fused


def fuse_scorers(
    sparse: ScoreRows, dense: ScoreRows, rule: FusionRule, depth: int = DEPTH
) -> ScoreRows:
    """Fuse two scorers of all candidates.

    Args:
        sparse: its scores are at least 0; a candidate with score 0 counts as not found.
        dense: any scores.
        rule: `weighted_scores` or `reciprocal_ranks`.
        depth: number of first candidates of each, in the pool of all languages.
    """

    def score_rows(rows: np.ndarray, scores: np.ndarray) -> None:
        sparse(rows, scores)
        first_sparse = FirstCandidates.of(np.where(scores > 0, scores, -np.inf), depth)
        dense(rows, scores)
        scores[:] = rule(first_sparse, FirstCandidates.of(scores, depth), scores.shape[1])

    return score_rows


def fuse_runs(
    sparse: str | Path | Mapping[str, Mapping[str, float]],
    dense: str | Path | Mapping[str, Mapping[str, float]],
    rule: FusionRule,
    depth: int = DEPTH,
) -> Run:
    """Fuse two TREC runs, ordered as trec_eval orders them.

    Args:
        sparse: a TREC file, or query id to document id to score.
        dense: the same; it may have other queries and documents.
        rule: `weighted_scores` or `reciprocal_ranks`.
        depth: number of first documents of each run.

    Returns:
        The queries of either run, each with the documents that are among its first in either run.

    Raises:
        FileNotFoundError: if a file is not there.
        TypeError: if a run is neither a file nor a mapping.
        ValueError: if a file is malformed, or a score is NaN or beyond float32.
    """
    runs = load_run(sparse), load_run(dense)
    fused: Run = {}
    for query in dict.fromkeys(query for run in runs for query in run):
        # trec_eval puts equal scores in descending order of ids.
        ids = sorted({each for run in runs for each in run.get(query, {})}, reverse=True)
        fused[query] = {}
        if not ids:
            continue
        first_sparse, first_dense = (
            FirstCandidates.of(_as_row(query, run, ids), depth) for run in runs
        )
        scores = rule(first_sparse, first_dense, len(ids))[0]
        kept = {
            column
            for first in (first_sparse, first_dense)
            for column in first.columns[first.found].tolist()
        }
        fused[query] = {ids[column]: float(scores[column]) for column in sorted(kept)}
    return fused


def _as_row(query: str, run: Mapping[str, Mapping[str, float]], ids: list[str]) -> np.ndarray:
    """Return the scores of ids for a query as float32 (1, n); minus infinity where it has none."""
    scores = run.get(query, {})
    with np.errstate(over="ignore"):
        row = np.array([[scores.get(each, -np.inf) for each in ids]], dtype=np.float32)
    if np.count_nonzero(np.isfinite(row)) < len(scores):
        raise ValueError(f"query {query!r} has a score beyond float32, which cannot be fused")
    return row
