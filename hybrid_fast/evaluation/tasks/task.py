"""A retrieval task over languages: queries, candidates, which answer which, and its evaluation.

Every query is run three ways: against the candidates of its own language (mono), of each other
language (cross), and of all languages in one pool (multi). See `metrics` and `language_bias` for
the figures, `ranks` for how they are counted.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_fast.evaluation import encoding, metrics
from hybrid_fast.evaluation.language_bias import LanguageBiasAccumulator, summarise_rankings
from hybrid_fast.evaluation.rank_distance import rank_distances, summarise_rank_distances
from hybrid_fast.evaluation.ranks import Relevants, ScoreRows, dot_products, rank_relevants
from hybrid_fast.evaluation.runs import RUN_DEPTH, distinct_ids, write_qrels, write_run
from hybrid_fast.evaluation.search import search_tiles
from hybrid_fast.evaluation.segments import DocumentScores
from hybrid_fast.evaluation.tasks.texts import Candidate, Pool, Query, TextCollection, store
from hybrid_fast.results import Counts, LanguageBias, PerQuery, RankingBias, Results
from hybrid_fast.results.results import library_versions
from hybrid_fast.results.run_info import RunInfo

logger = logging.getLogger(__name__)

GRID_METRICS = ("map", "recall@1")


class RetrievalTask:
    """Queries and candidates with their relevance, sorted by language, otherwise as given.

    Candidates are told apart by position: equal texts are different candidates. Rows of
    `queries` and `candidates` are the rows that `score` expects of embeddings.

    Attributes:
        name: name of the task.
        queries: the queries.
        candidates: the candidates of all languages, or their segments.
        pool: what is ranked, the union pool: the candidates, or the documents whose segments they
            are.
        relevants: positions in `pool` of what answers each query.
        metrics: names of the metrics that it reports.
        grid_metrics: those of them that it reports by query and corpus language.
        settings: how the texts were made, for the record.
        takes_scorers: whether it can be evaluated with other scores than of embeddings.
    """

    takes_scorers = True

    def __init__(
        self,
        name: str,
        queries: Iterable[Query],
        candidates: Iterable[Candidate],
        settings: Mapping[str, Any] | None = None,
        *,
        qrels: Mapping[str, Mapping[str, int]] | None = None,
        more_metrics: Sequence[str] = (),
        document_score: str | None = None,
    ) -> None:
        """Sort by language and look up what answers what.

        Args:
            name: name of the task.
            queries: what is asked.
            candidates: what is searched, passed through once: texts of a large collection are
                not held in memory.
            settings: how the texts were made, for the record.
            qrels: query id to candidate id to grade, relevant above 0, in place of the
                `query_ids` of candidates.
            more_metrics: names of metrics to report beside `metrics.METRICS`, such as "recall@100".
            document_score: candidates of one id that stand one after another are segments of a
                document, which is ranked by their scores: "max" or "mean@k". Needs qrels, which
                name documents.

        Raises:
            ValueError: if there are no queries or no candidates, a language is called "all", a
                metric or `document_score` is unknown, or qrels name ids that the task lacks, or
                candidates share an id.
        """
        if document_score is not None and qrels is None:
            raise ValueError(f"task {name!r}: documents of segments need qrels that name them")
        answers: list[tuple[str, int]] = []
        stored_queries, stored_candidates = store(queries), store(_noting(candidates, answers))
        if not stored_queries.num_rows or not stored_candidates.num_rows:
            raise ValueError(
                f"task {name!r} has {stored_queries.num_rows} queries and "
                f"{stored_candidates.num_rows} candidates; at least one of each is needed"
            )
        codes = {*stored_queries["lang"].unique().to_pylist()}
        codes |= {*stored_candidates["lang"].unique().to_pylist()}
        if "all" in codes:
            raise ValueError(f"task {name!r}: 'all' is no language, it names the union pool")
        languages = tuple(sorted(codes))
        self.name = name
        self.queries = TextCollection(stored_queries, languages)
        self.candidates = TextCollection(stored_candidates, languages)
        self.pool: Pool = self.candidates
        self.document_scores: DocumentScores | None = None
        if document_score is not None:
            self.pool, starts = _documents(self.candidates)
            self.document_scores = DocumentScores(document_score, starts, len(self.candidates))
        self.relevants = (
            _find_relevants(self.queries.ids, answers, self.candidates.arrivals)
            if qrels is None
            else _judged_relevants(name, self.queries.ids, self.pool.ids, qrels)
        )
        if qrels is not None or answers:
            self._report_unanswered()
        self.metrics = tuple(metrics.find_metrics([*metrics.METRICS, *more_metrics]))
        self.grid_metrics = tuple(dict.fromkeys([*GRID_METRICS, *more_metrics]))
        self.settings = dict(settings or {})
        if document_score is not None:
            self.settings["document_score"] = document_score

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes of queries and candidates, sorted."""
        return self.queries.languages

    def evaluate(
        self,
        model: object,
        *,
        batch_size: int | None = None,
        info: RunInfo | None = None,
        run: str | Path | None = None,
        run_depth: int = RUN_DEPTH,
    ) -> Results:
        """Encode all texts with a model and score the embeddings.

        Scores are dot products, but cosines for models that ask for them.

        Args:
            model: has `encode_queries` / `encode_passages`, or is a SentenceTransformer, or has
                `encode`.
            batch_size: texts the model takes at a time; default what it does by itself.
            info: for the record; the model's name, lengths, prompts and dtype are added where they
                are not told.
            run: a file for the ranking, see `write_run`.
            run_depth: how many candidates of each query it holds.

        Raises:
            TypeError: if the model cannot encode texts.
            ValueError: if it returns embeddings of a wrong shape, NaN or infinity.
        """
        if run is not None:
            self.run_ids()
        queries, candidates, settings = self.encode(model, batch_size=batch_size)
        name, _ = encoding.describe_model(model)
        info = (info or RunInfo()).with_defaults(name, **settings)
        if run is not None:
            self.write_run(run, queries, candidates, depth=run_depth, tag=str(info.model))
        return self.score(queries, candidates, info=info)

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
        info: RunInfo | None = None,
    ) -> Results:
        """Rank candidates by dot product and compute all figures.

        Args:
            query_embeddings: numpy array or torch tensor (len(queries), D) of floats, in the order
                of `queries`; normalise rows to length 1 for cosine. Scores are float32.
            candidate_embeddings: (len(candidates), D), in the order of `candidates`.
            info: what made the embeddings, for the record; their dtype is added.

        Raises:
            TypeError: if embeddings are not arrays or tensors of floats.
            ValueError: if shapes do not fit the task or each other, or a row holds NaN or infinity.
        """
        query_matrix, candidate_matrix = self._check(query_embeddings, candidate_embeddings)
        return self._rank(
            dot_products(query_matrix, candidate_matrix), with_dtype(info, query_embeddings)
        )

    def score_by(
        self,
        score_rows: ScoreRows,
        *,
        info: RunInfo | None = None,
    ) -> Results:
        """Rank candidates by any scores, and compute all figures.

        Args:
            score_rows: called with rows of `queries`, int64 (n,), and a float32 array
                (n, len(candidates)), into which it writes the scores of these queries.
            info: what scores, for the record.

        Raises:
            ValueError: if a score is NaN, or the task is evaluated with embeddings alone.
        """
        self.check_scorers()

        def checked(rows: np.ndarray, scores: np.ndarray) -> None:
            score_rows(rows, scores)
            if np.isnan(scores).any():
                row, column = np.argwhere(np.isnan(scores))[0]
                raise ValueError(
                    f"the score of query row {rows[row]} and candidate row {column} is NaN; every "
                    "candidate needs a score"
                )

        return self._rank(checked, info or RunInfo())

    def check_scorers(self) -> None:
        """Raise a ValueError if the figures of the task come from a search with embeddings."""
        if not self.takes_scorers:
            raise ValueError(
                f"task {self.name!r} is evaluated with embeddings alone; leave out the baselines "
                "bm25, fusion and rrf"
            )

    def _unanswered(self) -> dict[str, int]:
        """Return how many queries of each language have no relevant candidate in any pool."""
        codes = self.queries.language_codes[self.relevants.counts == 0]
        counts = np.bincount(codes, minlength=len(self.languages)).tolist()
        return {
            language: counts[self.languages.index(language)] for language in self.queries.counts
        }

    def _report_unanswered(self) -> None:
        some = {language: number for language, number in self._unanswered().items() if number}
        if some:
            asked = self.queries.counts
            of_each = ", ".join(
                f"{code} {number} of {asked[code]}" for code, number in some.items()
            )
            logger.warning(
                "task %r: queries without a relevant candidate are left out: %s", self.name, of_each
            )

    def _rank(self, score_rows: ScoreRows, info: RunInfo) -> Results:
        bias = LanguageBiasAccumulator(
            _number(self.queries.ids),
            self.queries.language_codes,
            self.pool.language_codes,
            len(self.languages),
            self.relevants,
        )
        ranks = rank_relevants(
            score_rows,
            self.pool.language_starts,
            self.relevants,
            groups=bias.groups,
            watch=bias,
            document_scores=self.document_scores,
        )
        by_query = metrics.score_queries(
            self.relevants, ranks, self.pool.language_codes, len(self.languages), self.metrics
        )
        results = self._results(
            by_query,
            rank_distances(self.relevants, ranks.in_pool),
            summarise_rankings(bias, ranks.in_pool, self.languages),
            info,
        )
        results.counts.other["without_relevants"] = self._unanswered()
        return results

    def write_run(
        self,
        path: str | Path,
        query_embeddings: np.ndarray | torch.Tensor,
        candidate_embeddings: np.ndarray | torch.Tensor,
        *,
        depth: int = RUN_DEPTH,
        tag: str = "hybrid_fast",
    ) -> None:
        """Write the ranking of the union pool as a TREC run, and the qrels that belong to it.

        The qrels go to the path with ".qrels" behind it. An id of several queries, which are
        translations, or of several candidates is written as "language:id", in both files.

        Args:
            path: the file, gzipped if it ends in ".gz".
            query_embeddings: as in `score`.
            candidate_embeddings: as in `score`.
            depth: how many candidates of each query to write, fewer if there are fewer.
            tag: the last field of each line; white space in it becomes "_".

        Raises:
            TypeError: if embeddings are not arrays or tensors of floats.
            ValueError: as `score`, or if depth is not positive or an id holds white space.
        """
        query_matrix, candidate_matrix = self._check(query_embeddings, candidate_embeddings)
        query_ids, pool_ids = self.run_ids()
        tiles = search_tiles(
            query_matrix, candidate_matrix, depth, document_scores=self.document_scores
        )
        ranking = (
            (query_ids[row], [pool_ids[place] for place in places], scores)
            for rows, hits in tiles
            for row, places, scores in zip(rows, hits.rows, hits.scores, strict=True)
        )
        write_run(Path(path), ranking, tag)
        found = self.relevants
        grades = found.grades if found.grades is not None else np.ones_like(found.rows)
        judged = zip(found.query_rows, found.rows, grades, strict=True)
        write_qrels(
            Path(f"{path}.qrels"),
            ((query_ids[row], pool_ids[place], grade) for row, place, grade in judged),
        )

    def run_ids(self) -> tuple[list[str], list[str]]:
        """Return ids of queries and of what is ranked, as a run has them.

        Raises:
            ValueError: if an id holds white space, or occurs twice in a language.
        """
        return distinct_ids(self.queries), distinct_ids(self.pool)

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

    def _results(
        self,
        by_query: dict[str, np.ndarray],
        distances: np.ndarray,
        rankings: RankingBias,
        info: RunInfo,
    ) -> Results:
        """Average scores of queries, in the shape of `metrics.score_queries`, into results."""
        num_languages, languages_of = len(self.languages), self.queries.language_codes
        cells = {
            name: metrics.average_cells(values, languages_of, num_languages)
            for name, values in by_query.items()
        }
        averages = {name: metrics.average_settings(grid) for name, grid in cells.items()}
        counts = Counts(
            queries=self.queries.counts,
            candidates=self.pool.counts,
            pool=len(self.pool),
            dropped=self._dropped(by_query[self.grid_metrics[-1]]),
        )
        if self.document_scores is not None:
            counts.other["segments"] = len(self.candidates)
        blank = {"candidate_text": None, "max_length": None, "prompts": None, "dtype": None}
        return Results(
            task=self.name,
            info=replace(info, settings={**blank, **self.settings, **info.settings}),
            versions=library_versions(),
            metrics={
                setting: {name: values[setting] for name, values in averages.items()}
                for setting in ("mono", "cross", "multi")
            },
            grid={name: self._grid(cells[name]) for name in self.grid_metrics},
            language_bias=LanguageBias(
                summarise_rank_distances(distances, languages_of, self.languages, len(self.pool)),
                rankings,
            ),
            counts=counts,
            per_query=PerQuery(
                np.array(self.queries.ids),
                np.array(self.languages)[languages_of],
                self.languages,
                {**by_query, "rank_distance": _in_pool_alone(distances, num_languages)},
            ),
        )

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


def _in_pool_alone(scores: np.ndarray, num_languages: int) -> np.ndarray:
    """Return scores of queries in the shape of `metrics.score_queries`, of the union pool only."""
    nothing = np.full((len(scores), num_languages), np.nan)
    return np.column_stack([nothing, scores])


def with_dtype(info: RunInfo | None, embeddings: np.ndarray | torch.Tensor) -> RunInfo:
    """Return what is known of a run, with the dtype of its embeddings unless it tells it."""
    dtype = str(embeddings.dtype).removeprefix("torch.")
    return (info or RunInfo()).with_defaults(dtype=dtype)


def _noting(candidates: Iterable[Candidate], answers: list[tuple[str, int]]) -> Iterator[Candidate]:
    """Yield candidates, noting the id of each query that one answers, and its place."""
    for place, candidate in enumerate(candidates):
        answers.extend((query_id, place) for query_id in dict.fromkeys(candidate.query_ids))
        yield candidate


def _documents(segments: TextCollection) -> tuple[Pool, np.ndarray]:
    """Return the documents of segments, and the first segment of each, int64 (num_documents,)."""
    keys = list(zip(segments.language_codes.tolist(), segments.ids, strict=True))
    is_first = [row == 0 or keys[row - 1] != key for row, key in enumerate(keys)]
    starts = np.flatnonzero(is_first)
    ids = [segments.ids[row] for row in starts.tolist()]
    return Pool(ids, segments.languages, segments.language_codes[starts]), starts


def _find_relevants(
    query_ids: Sequence[str], answers: Iterable[tuple[str, int]], arrivals: np.ndarray
) -> Relevants:
    row_of = np.empty_like(arrivals)
    row_of[arrivals] = np.arange(len(arrivals))
    rows_by_id: dict[str, list[int]] = defaultdict(list)
    for query_id, place in answers:
        rows_by_id[query_id].append(row_of[place])
    rows = [sorted(rows_by_id.get(query_id, [])) for query_id in query_ids]
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
    if len(set(candidate_ids)) < len(candidate_ids):
        twice, _ = Counter(candidate_ids).most_common(1)[0]
        raise ValueError(f"task {task!r}: candidate id {twice!r} occurs more than once")
    named = {each for grades in qrels.values() for each in grades}
    row_of = {each: row for row, each in enumerate(candidate_ids) if each in named}
    for name, unknown in (
        ("queries", sorted(set(qrels) - set(query_ids))),
        ("candidates", sorted(named - set(row_of))),
    ):
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
