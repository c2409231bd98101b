"""Fusion of a sparse and a dense ranking: by weighted scores or by reciprocal ranks.

Both use only the first candidates of each ranking, as if they came from a search engine. Candidates
that are in neither ranking get the same score, at most that of the last fused candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from hybrid_fast import _core
from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.trec_runs import Run, load_run
from hybrid_fast.retrieval.scores import ScoreRows, refuse_nan

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


# A rule by its name, or one of these with other options, as functools.partial makes it.
RULES: dict[str, FusionRule] = {"weighted": weighted_scores, "rrf": reciprocal_ranks}


def find_rule(rule: FusionRule | str) -> FusionRule:
    """Return a rule that is given by its name, or as it is.

    Raises:
        TypeError: if it is neither a name nor a function.
        ValueError: if there is no rule of this name.
    """
    if isinstance(rule, str):
        return RULES[check_choice("rule", rule, RULES)]
    if not callable(rule):
        raise TypeError(
            f"rule is a {type(rule).__name__}; give one of {', '.join(map(repr, RULES))} or a "
            "function, such as partial(weighted_scores, alpha=0.5)"
        )
    return rule


def fuse_scorers(
    sparse: ScoreRows, dense: ScoreRows, rule: FusionRule | str, depth: int = DEPTH
) -> ScoreRows:
    """Fuse two scorers of all candidates.

    Args:
        sparse: its scores are at least 0; a candidate with score 0 counts as not found.
        dense: any scores.
        rule: "weighted" (`weighted_scores`), "rrf" (`reciprocal_ranks`), or a function like these.
        depth: number of first candidates of each, in the pool of all languages.

    Raises:
        TypeError: if the rule is neither a name nor a function.
        ValueError: if there is no such rule; when scoring, if a score is NaN or plus infinity.
    """
    fuse = find_rule(rule)
    sparse, dense = (refuse_nan(each, allow_infinity=False) for each in (sparse, dense))

    def score_rows(rows: np.ndarray, scores: np.ndarray) -> None:
        sparse(rows, scores)
        first_sparse = FirstCandidates.of(np.where(scores > 0, scores, -np.inf), depth)
        dense(rows, scores)
        scores[:] = fuse(first_sparse, FirstCandidates.of(scores, depth), scores.shape[1])

    return score_rows


class RankedIds(NamedTuple):
    """Rankings of n queries by id, best first.

    Attributes:
        ids: of each query, all different.
        scores: float32 (n, depth), at least as wide as the longest ranking; what is beyond the end
            of a ranking does not count.
    """

    ids: Sequence[Sequence[str]]
    scores: np.ndarray


class Fused(NamedTuple):
    """The fused ranking of a query: `ids`, best first, and their `scores`, float64 (n,)."""

    ids: list[str]
    scores: np.ndarray


def fuse_rankings(
    sparse: RankedIds, dense: RankedIds, rule: FusionRule | str = "rrf"
) -> list[Fused]:
    """Fuse rankings by id; equal scores in the order of the dense ranking, then of the sparse one.

    Args:
        sparse: the first hits of n queries.
        dense: the first hits of the same queries.
        rule: "weighted" (`weighted_scores`), "rrf" (`reciprocal_ranks`), or a function like these.

    Returns:
        For each query the ids that are in either ranking.

    Raises:
        TypeError: if the rule is neither a name nor a function.
        ValueError: if there is no such rule, or a score is NaN or infinite.
    """
    fuse = find_rule(rule)
    ids = [list(dict.fromkeys(chain(*both))) for both in zip(dense.ids, sparse.ids, strict=True)]
    num_columns = max(map(len, ids), default=0)
    if not num_columns:
        return [Fused([], np.empty(0)) for _ in ids]
    places = [{each: column for column, each in enumerate(some)} for some in ids]
    first_sparse, first_dense = (_in_columns(each, places) for each in (sparse, dense))
    scores = fuse(first_sparse, first_dense, num_columns)
    fused = []
    for some, row in zip(ids, scores, strict=True):
        order = np.argsort(-row[: len(some)], kind="stable")
        fused.append(Fused([some[column] for column in order], row[order]))
    return fused


def _in_columns(ranked: RankedIds, places: Sequence[Mapping[str, int]]) -> FirstCandidates:
    """Return rankings as columns; `places` has the column of each id, a mapping for each query."""
    depth = max(1, *map(len, ranked.ids))
    columns = np.zeros((len(places), depth), np.int64)
    scores = np.full((len(places), depth), -np.inf, np.float32)
    for row, (ids, place) in enumerate(zip(ranked.ids, places, strict=True)):
        columns[row, : len(ids)] = [place[each] for each in ids]
        scores[row, : len(ids)] = ranked.scores[row, : len(ids)]
        if not np.isfinite(scores[row, : len(ids)]).all():
            raise ValueError(
                f"ranking {row} has a score that is NaN or infinite; every hit needs a number"
            )
    return FirstCandidates(columns, scores)


def fuse_runs(
    sparse: str | Path | Mapping[str, Mapping[str, float]],
    dense: str | Path | Mapping[str, Mapping[str, float]],
    rule: FusionRule | str,
    depth: int = DEPTH,
) -> Run:
    """Fuse two TREC runs, ordered as trec_eval orders them.

    Args:
        sparse: a TREC file, or query id to document id to score.
        dense: the same; it may have other queries and documents.
        rule: "weighted" (`weighted_scores`), "rrf" (`reciprocal_ranks`), or a function like these.
        depth: number of first documents of each run.

    Returns:
        The queries of either run, each with the documents that are among its first in either run.

    Raises:
        FileNotFoundError: if a file is not there.
        TypeError: if a run is neither a file nor a mapping, or the rule neither a name nor a
            function.
        ValueError: if there is no such rule, a file is malformed, or a score is NaN or beyond
            float32.
    """
    fuse = find_rule(rule)
    runs = load_run(sparse), load_run(dense)
    if depth < 1:
        raise ValueError(f"depth is {depth}; it must be at least 1")
    fused: Run = {}
    for query in dict.fromkeys(query for run in runs for query in run):
        of_sparse, of_dense = (_first_of_run(query, run.get(query, {}), depth) for run in runs)
        (ranking,) = fuse_rankings(of_sparse, of_dense, fuse)
        fused[query] = dict(zip(ranking.ids, ranking.scores.tolist(), strict=True))
    return fused


def _first_of_run(query: str, hits: Mapping[str, float], depth: int) -> RankedIds:
    """Return the first documents of a query as trec_eval orders them: by float32, then by id."""
    with np.errstate(over="ignore"):
        scores = np.array(list(hits.values()), np.float32)
    if not np.isfinite(scores).all():
        raise ValueError(f"query {query!r} has a score beyond float32, which cannot be fused")
    ranked = sorted(zip(scores.tolist(), hits, strict=True), reverse=True)[:depth]
    first = np.array([[score for score, _ in ranked]], np.float32)
    return RankedIds([[each for _, each in ranked]], first)
