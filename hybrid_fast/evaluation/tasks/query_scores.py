"""Scores of every query of a task, and what results hold of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hybrid_fast.evaluation import metrics
from hybrid_fast.evaluation.language_bias import LanguageBiasAccumulator, summarise_rankings
from hybrid_fast.evaluation.rank_distance import rank_distances, summarise_rank_distances
from hybrid_fast.evaluation.ranks import Relevants, Unfound, rank_relevants
from hybrid_fast.evaluation.segments import DocumentScores
from hybrid_fast.evaluation.tasks.queries import number_ids
from hybrid_fast.results import LanguageBias, PerQuery, RankingBias
from hybrid_fast.retrieval.scores import ScoreRows
from hybrid_fast.retrieval.shared_work import SharedWork
from hybrid_fast.retrieval.texts import Pool, TextCollection


@dataclass(frozen=True)
class QueryScores:
    """Scores of every query in every pool.

    Attributes:
        queries: the queries.
        by_metric: metric to float64 (num_queries, num_languages + 1), NaN where a query has no
            relevant in a pool; the last column is the union pool.
        rank_distances: float64 (num_queries,), NaN where a query has none.
    """

    queries: TextCollection
    by_metric: dict[str, np.ndarray]
    rank_distances: np.ndarray

    @classmethod
    def empty(cls, queries: TextCollection, names: Iterable[str]) -> QueryScores:
        """Return arrays of NaN for these metrics, to be filled in."""
        shape = len(queries), len(queries.languages) + 1
        by_metric = {name: np.full(shape, np.nan) for name in names}
        return cls(queries, by_metric, np.full(len(queries), np.nan))

    @cached_property
    def cells(self) -> dict[str, np.ndarray]:
        """Metric to its means, query language by pool: float64 (languages, languages + 1)."""
        codes, num_languages = self.queries.language_codes, len(self.queries.languages)
        return {
            name: metrics.average_cells(values, codes, num_languages)
            for name, values in self.by_metric.items()
        }

    def averages(self) -> dict[str, dict[str, float | None]]:
        """Return setting ("mono", "cross", "multi") to metric to score."""
        by_metric = {name: metrics.average_settings(cells) for name, cells in self.cells.items()}
        return {
            setting: {name: values[setting] for name, values in by_metric.items()}
            for setting in ("mono", "cross", "multi")
        }

    def grid(self, metric: str) -> dict[str, dict[str, float | None]]:
        """Return query language to corpus language, or "all", to the score by a metric."""
        columns = (*self.queries.languages, "all")
        return {
            language: dict(zip(columns, map(metrics.to_number, row), strict=True))
            for language, row in zip(self.queries.languages, self.cells[metric], strict=True)
            if language in self.queries.counts
        }

    def dropped(self) -> dict[str, dict[str, int]]:
        """Return query language to corpus language to the number of queries without any score."""
        languages = self.queries.languages
        scores = np.full((len(self.queries), len(languages) + 1), np.nan)
        for values in self.by_metric.values():
            scores = np.fmax(scores, values)
        counts = metrics.count_dropped(scores, self.queries.language_codes, len(languages))
        return {
            language: dict(zip(languages, row.tolist(), strict=False))
            for language, row in zip(languages, counts, strict=True)
            if language in self.queries.counts
        }

    def language_bias(self, pool_size: int, rankings: RankingBias | None) -> LanguageBias:
        """Return the language bias: rank distances of queries, and what rankings show besides.

        Args:
            pool_size: number of members of the union pool.
            rankings: None if the task ranks no union pool.
        """
        languages = self.queries.languages
        distances = summarise_rank_distances(
            self.rank_distances, self.queries.language_codes, languages, pool_size
        )
        return LanguageBias(distances, rankings or RankingBias())

    def per_query(self) -> PerQuery:
        """Return all scores as `per_query.npz` holds them; rank distances are of the union pool."""
        languages = self.queries.languages
        no_pools = np.full((len(self.queries), len(languages)), np.nan)
        rank_distances = np.column_stack([no_pools, self.rank_distances])
        return PerQuery(
            np.array(self.queries.ids),
            np.array(languages)[self.queries.language_codes],
            languages,
            {**self.by_metric, "rank_distance": rank_distances},
        )


def rank_queries(
    score_rows: ScoreRows,
    queries: TextCollection,
    pool: Pool,
    relevants: Relevants,
    metric_names: Sequence[str],
    *,
    unfound: Unfound | None = None,
    document_scores: DocumentScores | None = None,
    shared: SharedWork | None = None,
) -> tuple[QueryScores, RankingBias]:
    """Rank the relevants of all queries; return their scores and the language bias of rankings.

    Args:
        score_rows: see `rank_relevants`.
        queries: the queries.
        pool: what is ranked.
        relevants: positions in `pool` of what answers each query.
        metric_names: names of metrics.
        unfound: see `score_queries`.
        document_scores: see `rank_relevants`.
        shared: ranks that each rank candidates for a part of the queries.
    """
    languages = queries.languages
    bias = LanguageBiasAccumulator(
        number_ids(queries.ids),
        queries.language_codes,
        pool.language_codes,
        len(languages),
        relevants,
    )
    ranks = rank_relevants(
        score_rows,
        pool.language_starts,
        relevants,
        groups=bias.groups,
        on_tile=bias,
        document_scores=document_scores,
        shared=shared,
    )
    by_metric = metrics.score_queries(
        relevants, ranks, pool.language_codes, len(languages), metric_names, unfound
    )
    distances = rank_distances(relevants, ranks.in_pool)
    return (
        QueryScores(queries, by_metric, distances),
        summarise_rankings(bias, ranks.in_pool, languages),
    )
