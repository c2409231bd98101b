"""A retrieval task over languages: queries, candidates, which answer which, and its evaluation.

Every query is run three ways: against the candidates of its own language (mono), of each other
language (cross), and of all languages in one pool (multi). See `metrics` and `language_bias` for
the figures, `ranks` for how they are counted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from hybrid_fast.evaluation import encoding, metrics
from hybrid_fast.evaluation.language_bias import (
    RankingWatch,
    rank_distances,
    summarise_rank_distances,
    summarise_rankings,
)
from hybrid_fast.evaluation.ranks import (
    Ranks,
    Relevants,
    ScoreRows,
    dot_products,
    rank_relevants,
)
from hybrid_fast.evaluation.results import PerQuery, Results, library_versions
from hybrid_fast.evaluation.tasks.texts import Candidate, Query, TextCollection

GRID_METRICS = ("map", "recall@1")


class RetrievalTask:
    """Queries and candidates with their relevance, sorted by language, otherwise as given.

    Candidates are told apart by position: equal texts are different candidates. Rows of
    `queries` and `candidates` are the rows that `score` expects of embeddings.

    Attributes:
        name: name of the task.
        queries: the queries.
        candidates: the candidates of all languages, the union pool.
        relevants: rows of the candidates that answer each query.
        metrics: names of the metrics that it reports.
        settings: how the texts were made, for the record.
    """

    def __init__(
        self,
        name: str,
        queries: Iterable[Query],
        candidates: Iterable[Candidate],
        settings: Mapping[str, Any] | None = None,
        *,
        qrels: Mapping[str, Mapping[str, int]] | None = None,
        more_metrics: Sequence[str] = (),
    ) -> None:
        """Sort by language and look up what answers what.

        Args:
            name: name of the task.
            queries: what is asked.
            candidates: what is searched.
            settings: how the texts were made, for the record.
            qrels: query id to candidate id to grade, relevant above 0, in place of the
                `query_ids` of candidates.
            more_metrics: names of metrics to report beside `metrics.METRICS`, such as "recall@100".

        Raises:
            ValueError: if there are no queries or no candidates, a language is called "all", a
                metric is unknown, or qrels name ids that the task lacks, or candidates share an id.
        """
        sorted_queries = sorted(queries, key=lambda item: item.lang)
        sorted_candidates = sorted(candidates, key=lambda item: item.lang)
        if not sorted_queries or not sorted_candidates:
            raise ValueError(
                f"task {name!r} has {len(sorted_queries)} queries and {len(sorted_candidates)} "
                "candidates; at least one of each is needed"
            )
        codes = {each.lang for each in sorted_queries} | {each.lang for each in sorted_candidates}
        if "all" in codes:
            raise ValueError(f"task {name!r}: 'all' is no language, it names the union pool")
        languages = tuple(sorted(codes))
        self.name = name
        self.queries = TextCollection(sorted_queries, languages)
        self.candidates = TextCollection(sorted_candidates, languages)
        self.relevants = (
            _find_relevants(sorted_queries, sorted_candidates)
            if qrels is None
            else _judged_relevants(name, self.queries.ids, self.candidates.ids, qrels)
        )
        self.metrics = tuple(metrics.find_metrics([*metrics.METRICS, *more_metrics]))
        self.settings = dict(settings or {})

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes of queries and candidates, sorted."""
        return self.queries.languages

    def evaluate(
        self,
        model: object,
        *,
        batch_size: int | None = None,
        model_name: str | None = None,
        kind: str | None = None,
        seed: int | None = None,
    ) -> Results:
        """Encode all texts with a model and score the embeddings.

        Scores are dot products, but cosines for models that ask for them.

        Args:
            model: has `encode_queries` / `encode_passages`, or is a SentenceTransformer, or has
                `encode`.
            batch_size: texts the model takes at a time; default what it does by itself.
            model_name: what to call the model in results; default what it calls itself.
            kind: batch kind it was trained with, for the record.
            seed: seed it was trained with, for the record.

        Raises:
            TypeError: if the model cannot encode texts.
            ValueError: if it returns embeddings of a wrong shape, NaN or infinity.
        """
        queries, candidates, settings = self.encode(model, batch_size=batch_size)
        return self.score(
            queries,
            candidates,
            model_name=encoding.describe_model(model)[0] if model_name is None else model_name,
            kind=kind,
            seed=seed,
            settings=settings,
        )

    def encode(
        self, model: object, *, batch_size: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Return what `score` takes: embeddings of queries, of candidates, and settings.

        Embeddings have length 1 for models that ask for cosines.

        Args:
            model: see `evaluate`.
            batch_size: texts the model takes at a time; default what it does by itself.

        Raises:
            TypeError: if the model cannot encode texts.
            ValueError: if it returns embeddings of a wrong shape.
        """
        encode_queries, encode_passages = encoding.find_encoders(model)
        similarity = encoding.similarity_of(model)
        _, settings = encoding.describe_model(model)
        queries = encoding.encode(encode_queries, self.queries, batch_size, "queries")
        candidates = encoding.encode(encode_passages, self.candidates, batch_size, "candidates")
        if similarity == "cosine":
            queries, candidates = map(encoding.normalize_rows, (queries, candidates))
        return queries, candidates, {**settings, "similarity": similarity}

    def score(
        self,
        query_embeddings: np.ndarray | torch.Tensor,
        candidate_embeddings: np.ndarray | torch.Tensor,
        *,
        model_name: str | None = None,
        kind: str | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Results:
        """Rank candidates by dot product and compute all figures.

        Args:
            query_embeddings: numpy array or torch tensor (len(queries), D) of floats, in the order
                of `queries`; normalise rows to length 1 for cosine. Scores are float32.
            candidate_embeddings: (len(candidates), D), in the order of `candidates`.
            model_name: name of the model, for the record.
            kind: batch kind it was trained with, for the record.
            seed: seed it was trained with, for the record.
            settings: "max_length", "prompts", "dtype" and anything else for the record.

        Raises:
            TypeError: if embeddings are not arrays or tensors of floats.
            ValueError: if shapes do not fit the task or each other, or a row holds NaN or infinity.
        """
        query_matrix, candidate_matrix = self._check(query_embeddings, candidate_embeddings)
        known = {name: value for name, value in (settings or {}).items() if value is not None}
        return self._rank(
            dot_products(query_matrix, candidate_matrix),
            model_name,
            kind,
            seed,
            {"dtype": str(query_embeddings.dtype).removeprefix("torch."), **known},
        )

    def score_by(
        self,
        score_rows: ScoreRows,
        *,
        model_name: str | None = None,
        kind: str | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Results:
        """Rank candidates by any scores, and compute all figures.

        Args:
            score_rows: called with rows of `queries`, int64 (n,), and a float32 array
                (n, len(candidates)), into which it writes the scores of these queries.
            model_name: name of what scores, for the record.
            kind: batch kind it was trained with, for the record.
            seed: seed it was trained with, for the record.
            settings: anything for the record.

        Raises:
            ValueError: if a score is NaN.
        """

        def checked(rows: np.ndarray, scores: np.ndarray) -> None:
            score_rows(rows, scores)
            if np.isnan(scores).any():
                row, column = np.argwhere(np.isnan(scores))[0]
                raise ValueError(
                    f"the score of query row {rows[row]} and candidate row {column} is NaN; every "
                    "candidate needs a score"
                )

        return self._rank(checked, model_name, kind, seed, settings or {})

    def _rank(
        self,
        score_rows: ScoreRows,
        model_name: str | None,
        kind: str | None,
        seed: int | None,
        settings: Mapping[str, Any],
    ) -> Results:
        watch = RankingWatch(
            _number(self.queries.ids),
            self.queries.language_codes,
            self.candidates.language_codes,
            len(self.languages),
            self.relevants,
        )
        starts = self.candidates.language_starts
        ranks = rank_relevants(score_rows, starts, self.relevants, groups=watch.groups, watch=watch)
        blank = {"candidate_text": None, "max_length": None, "prompts": None, "dtype": None}
        return Results(
            task=self.name,
            model=model_name,
            kind=kind,
            seed=seed,
            versions=library_versions(),
            settings={**blank, **self.settings, **settings},
            **self._figures(ranks, watch),
        )

    def _check(
        self,
        query_embeddings: np.ndarray | torch.Tensor,
        candidate_embeddings: np.ndarray | torch.Tensor,
    ) -> list[np.ndarray]:
        matrices = []
        for name, given, place, texts in (
            ("query_embeddings", query_embeddings, "queries", self.queries),
            ("candidate_embeddings", candidate_embeddings, "candidates", self.candidates),
        ):
            matrix = encoding.to_float32(given, name)
            if len(matrix) != len(texts):
                raise ValueError(
                    f"{name} has {len(matrix)} rows; task {self.name!r} needs {len(texts)}, "
                    f"one for each of task.{place}, in that order"
                )
            encoding.check_finite(matrix, texts.languages, texts.language_codes, name)
            matrices.append(matrix)
        if matrices[0].shape[1] != matrices[1].shape[1]:
            raise ValueError(
                f"query_embeddings have dim {matrices[0].shape[1]}, candidate_embeddings dim "
                f"{matrices[1].shape[1]}; encode both with the same model"
            )
        return matrices

    def _figures(self, ranks: Ranks, watch: RankingWatch) -> dict[str, Any]:
        """Return the parts "metrics", "grid", "language_bias", "counts", "per_query" of results."""
        num_languages, languages_of = len(self.languages), self.queries.language_codes
        by_query = metrics.score_queries(
            self.relevants, ranks, self.candidates.language_codes, num_languages, self.metrics
        )
        cells = {
            name: metrics.average_cells(values, languages_of, num_languages)
            for name, values in by_query.items()
        }
        distances = rank_distances(self.relevants, ranks.in_pool)
        settings = {name: metrics.average_settings(grid) for name, grid in cells.items()}
        return {
            "metrics": {
                setting: {name: values[setting] for name, values in settings.items()}
                for setting in ("mono", "cross", "multi")
            },
            "grid": {name: self._grid(cells[name]) for name in GRID_METRICS},
            "language_bias": {
                **summarise_rank_distances(
                    distances, languages_of, self.languages, len(self.candidates)
                ),
                **summarise_rankings(watch, ranks.in_pool, self.languages),
            },
            "counts": {
                "queries": self.queries.counts,
                "candidates": self.candidates.counts,
                "pool": len(self.candidates),
                "dropped": self._dropped(by_query["map"]),
            },
            "per_query": PerQuery(
                np.array(self.queries.ids),
                np.array(self.languages)[languages_of],
                self.languages,
                {**by_query, "rank_distance": _in_pool_alone(distances, num_languages)},
            ),
        }

    def _grid(self, cells: np.ndarray) -> dict[str, dict[str, float | None]]:
        columns = (*self.languages, "all")
        return {
            language: dict(zip(columns, map(metrics.to_figure, row), strict=True))
            for language, row in zip(self.languages, cells, strict=True)
            if language in self.queries.counts
        }

    def _dropped(self, by_query: np.ndarray) -> dict[str, dict[str, int]]:
        dropped = metrics.count_dropped(by_query, self.queries.language_codes, len(self.languages))
        return {
            language: dict(zip(self.languages, row.tolist(), strict=False))
            for language, row in zip(self.languages, dropped, strict=True)
            if language in self.queries.counts
        }


def _number(ids: Sequence[str]) -> np.ndarray:
    """Return a number for each id, equal for equal ids, int64 (n,)."""
    numbers = {each: number for number, each in enumerate(dict.fromkeys(ids))}
    return np.array([numbers[each] for each in ids], dtype=np.int64)


def _in_pool_alone(figures: np.ndarray, num_languages: int) -> np.ndarray:
    """Return figures of queries in the shape of `metrics.score_queries`, of the union pool only."""
    nothing = np.full((len(figures), num_languages), np.nan)
    return np.column_stack([nothing, figures])


def _find_relevants(queries: Sequence[Query], candidates: Sequence[Candidate]) -> Relevants:
    rows_by_id: dict[str, list[int]] = defaultdict(list)
    for row, candidate in enumerate(candidates):
        for query_id in dict.fromkeys(candidate.query_ids):
            rows_by_id[query_id].append(row)
    rows = [rows_by_id.get(query.id, []) for query in queries]
    return Relevants(
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        rows=np.array([row for some in rows for row in some], dtype=np.int64),
    )


def _judged_relevants(
    task: str,
    query_ids: Sequence[str],
    candidate_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
) -> Relevants:
    row_of = {candidate_id: row for row, candidate_id in enumerate(candidate_ids)}
    if len(row_of) < len(candidate_ids):
        twice, _ = Counter(candidate_ids).most_common(1)[0]
        raise ValueError(f"task {task!r}: candidate id {twice!r} occurs more than once")
    for name, known, named in (
        ("queries", set(query_ids), set(qrels)),
        ("candidates", set(row_of), {each for grades in qrels.values() for each in grades}),
    ):
        unknown = sorted(named - known)
        if unknown:
            raise ValueError(
                f"task {task!r}: qrels name {len(unknown)} {name} that the task lacks: "
                f"{', '.join(map(repr, unknown[:3]))}{' ...' if len(unknown) > 3 else ''}"
            )
    judged = [
        sorted(
            (row_of[each], grade) for each, grade in qrels.get(query_id, {}).items() if grade > 0
        )
        for query_id in query_ids
    ]
    return Relevants(
        offsets=np.cumsum([0, *map(len, judged)], dtype=np.int64),
        rows=np.array([row for some in judged for row, _ in some], dtype=np.int64),
        grades=np.array([grade for some in judged for _, grade in some], dtype=np.int64),
    )
