"""A retrieval task in several languages: queries, candidates, their relevance, its evaluation.

Every query is evaluated three ways: against the candidates of its own language (mono), of each
other language (cross), and of all languages in one pool (multi). The scores are defined in
`metrics` and `language_bias`; how ranks are counted is described in `ranks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.distributed import ProcessGroup

from hybrid_fast.data.languages import normalize_language
from hybrid_fast.evaluation import metrics
from hybrid_fast.evaluation.segments import DocumentScores, find_documents
from hybrid_fast.evaluation.tasks.embeddings import Embeddings, checked_embeddings, with_dtype
from hybrid_fast.evaluation.tasks.inputs import TextChecks
from hybrid_fast.evaluation.tasks.judgements import Missing, relevants_from_qrels
from hybrid_fast.evaluation.tasks.own_ids import OwnIds
from hybrid_fast.evaluation.tasks.queries import (
    Answers,
    Candidate,
    Query,
    collect_answers,
    count_unanswered,
    relevants_from_answers,
    store_by_language,
    warn_of_unanswered,
)
from hybrid_fast.evaluation.tasks.query_scores import QueryScores, rank_queries
from hybrid_fast.evaluation.tasks.run_files import RUN_DEPTH, distinct_ids, write_run_and_qrels
from hybrid_fast.results import Counts, RankingBias, Results, RunInfo
from hybrid_fast.results.plain import plain
from hybrid_fast.results.results import library_versions
from hybrid_fast.retrieval.encoding import describe_model, encode_both
from hybrid_fast.retrieval.scores import ScoreRows, dot_products, refuse_nan
from hybrid_fast.retrieval.shared_work import SharedWork, shared_work
from hybrid_fast.retrieval.texts import Pool

GRID_METRICS = ("map", "recall@1")


class RetrievalTask:
    """Queries and candidates with their relevance, sorted by language, otherwise as given.

    Candidates are identified by position: equal texts are different candidates. Rows of `queries`
    and `candidates` are the rows that `score` expects of embeddings.

    Attributes:
        name: name of the task.
        queries: the queries.
        candidates: the candidates of all languages, or their segments.
        pool: what is ranked, the union pool: the candidates, or the documents whose segments they
            are.
        document_scores: turns scores of segments into scores of documents; None without segments.
        judged: what answers each query, what no ranking can hold included.
        relevants: positions in `pool` of the others.
        own_ids: the candidates that have the id of a query, and whether they are left out.
        metrics: names of the metrics that it reports.
        grid_metrics: those of them that it reports by query and corpus language.
        settings: how the texts were made, recorded in results.
        takes_scorers: whether it can be evaluated with scores other than those of embeddings.
    """

    takes_scorers = True

    def __init__(
        self,
        name: str,
        queries: Iterable[Query],
        candidates: Iterable[Candidate],
        settings: Mapping[str, Any] | None = None,
        *,
        qrels: Mapping[Any, Mapping[Any, float]] | None = None,
        more_metrics: Sequence[str] = (),
        document_score: str | None = None,
        exclude_self: bool | None = None,
        missing: Missing = "zero",
        strict: bool = False,
        keep_variants: bool = False,
    ) -> None:
        """Sort by language and look up the relevant candidates.

        Args:
            name: name of the task.
            queries: iterated over once.
            candidates: iterated over once, so that the texts of a large collection need not fit
                in memory.
            settings: how the texts were made, recorded in results in plain types.
            qrels: query id to candidate id to grade, relevant above 0, in place of the
                `query_ids` of candidates. Grades may be fractional.
            more_metrics: names of metrics to report beside `metrics.METRICS`, such as "recall@100".
            document_score: rank documents by their segments, scored by "max" or "mean@k";
                neighbouring candidates of one id are the segments of a document. Needs qrels, whose
                candidate ids are those of documents.
            exclude_self: leave out of a query's ranking the candidate with its id, see `own_ids`.
            missing: how judged relevants that are no candidates count, see `relevants_from_qrels`.
            strict: judgements of ids that the task lacks are errors, in place of warnings.
            keep_variants: keep script, region and variants of language codes.

        Ids of any type become text: 7 and "7" are one id.

        Raises:
            TypeError: if the name is no text, a setting cannot be recorded, a query, a candidate or
                qrels are of another type, an id is missing or a fraction, or a grade is no number.
            ValueError: if there are no queries or no candidates, one of them has no language or
                text or an unknown language, a language is called "all", a metric or
                `document_score` is unknown, qrels name no query or no candidate of the task, or
                candidates share an id although there are qrels.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of the task is {name!r}; give a text")
        if document_score is not None and qrels is None:
            raise ValueError(
                f"task {name!r}: document_score needs qrels, whose candidate ids name the documents"
            )
        self.settings = plain(dict(settings or {}), f"task {name!r}: settings")
        answers: Answers = []
        self.name = name
        checks = TextChecks(name, self._language_code, keep_variants)
        self.queries, self.candidates = store_by_language(
            name,
            checks.texts("query", queries),
            checks.texts("candidate", collect_answers(name, candidates, answers)),
        )
        checks.warn_of_merged()
        self.pool: Pool = self.candidates
        self.document_scores = None
        if document_score is not None:
            self.pool, starts = find_documents(self.candidates)
            self.document_scores = DocumentScores(document_score, starts, len(self.candidates))
        self.own_ids = OwnIds(self.queries, self.candidates, self.pool, exclude_self)
        if qrels is None:
            judged = relevants_from_answers(self.queries, self.candidates, answers)
        else:
            judged = relevants_from_qrels(
                name, self.queries, self.pool, qrels, missing=missing, strict=strict
            )
        if qrels is not None or exclude_self:
            self.own_ids.say(name)
        self.judged = self.own_ids.remove(judged, self.pool)
        self.relevants = self.judged.relevants
        if qrels is not None or answers:
            warn_of_unanswered(name, self.queries, self.judged.counts)
        self.metrics = tuple(metrics.find_metrics([*metrics.METRICS, *more_metrics]))
        self.grid_metrics = tuple(dict.fromkeys([*GRID_METRICS, *more_metrics]))
        if document_score is not None:
            self.settings["document_score"] = document_score
        if self.own_ids.excluded:
            self.settings["exclude_self"] = True

    def _language_code(self, code: str, keep_variants: bool) -> str:
        """Return how a language that queries and candidates name is called in results."""
        return normalize_language(code, keep_variants)

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
        process_group: ProcessGroup | None = None,
    ) -> Results:
        """Encode all texts with a model; score by dot products, or cosines if the model says so.

        Args:
            model: has methods that encode queries and passages under a usual name (see
                `retrieval.encoders`), such as a BiEncoder, a SentenceTransformer or a model of
                BEIR, or `encode` for both.
            batch_size: texts the model takes at a time; default its own.
            info: describes the model in the results; its name, maximum length, prompts and dtype
                are added where `info` lacks them.
            run: a file for the ranking, see `write_run`.
            run_depth: number of candidates per query in that file.
            process_group: all its ranks call this together and share the work; the first one
                writes the run, and all return the results.

        Raises:
            TypeError: if the model cannot encode texts, or a setting cannot be recorded.
            ValueError: if it returns embeddings of a wrong shape, NaN or infinity.
        """
        plain(self.settings, f"task {self.name!r}: settings")  # they may have been added to
        if run is not None:
            self.run_ids()
        with shared_work(process_group) as shared:
            sharing: dict[str, Any] = {} if shared is None else {"shared": shared}
            queries, candidates, settings = self.encode(model, batch_size=batch_size, **sharing)
            info = (info or RunInfo()).with_defaults(describe_model(model)[0], **settings)
            if run is not None and (shared is None or shared.rank == 0):
                self.write_run(run, queries, candidates, depth=run_depth, tag=str(info.model))
            return self.score(queries, candidates, info=info, **sharing)

    def encode(
        self,
        model: object,
        *,
        batch_size: int | None = None,
        shared: SharedWork | None = None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Return what `score` takes: embeddings of queries and of candidates, and settings.

        Embeddings have norm 1 if the model asks for cosines.

        Args:
            model: see `evaluate`.
            batch_size: texts the model takes at a time; default its own.
            shared: ranks that each encode a part of the texts.

        Raises:
            TypeError: if the model cannot encode texts.
            ValueError: if it returns embeddings of a wrong shape, NaN or infinity.
        """
        queries, candidates, made_by = encode_both(
            model,
            self.queries,
            self.candidates,
            batch_size,
            passages_name="candidates",
            shared=shared,
        )
        _, settings = describe_model(model)
        return queries, candidates, {**settings, **made_by}

    def score(
        self,
        query_embeddings: Embeddings,
        candidate_embeddings: Embeddings,
        *,
        info: RunInfo | None = None,
        shared: SharedWork | None = None,
    ) -> Results:
        """Rank candidates by dot product and compute all scores.

        Args:
            query_embeddings: numpy array or torch tensor (len(queries), D) of floats, in the order
                of `queries`; normalise rows to norm 1 for cosine. Scores are float32.
            candidate_embeddings: (len(candidates), D), in the order of `candidates`.
            info: describes the model in the results; the dtype of the embeddings is added.
            shared: ranks that each rank candidates for a part of the queries.

        Raises:
            TypeError: if embeddings are not arrays or tensors of floats.
            ValueError: if shapes do not fit the task or each other, or a row holds NaN or infinity.
        """
        queries, candidates = self._checked(query_embeddings, candidate_embeddings)
        info = with_dtype(info, query_embeddings)
        return self._rank(dot_products(queries, candidates), info, shared)

    def score_by(
        self,
        score_rows: ScoreRows,
        *,
        info: RunInfo | None = None,
        shared: SharedWork | None = None,
    ) -> Results:
        """Rank candidates by any scores and compute all metrics.

        Args:
            score_rows: called with rows of `queries`, int64 (n,), and a float32 array
                (n, len(candidates)), into which it writes the scores of these queries.
            info: describes the scorer in the results.
            shared: as in `score`.

        Raises:
            ValueError: if a score is NaN, or the task can be evaluated with embeddings only.
        """
        self.check_scorers()
        return self._rank(refuse_nan(score_rows), info or RunInfo(), shared)

    def check_scorers(self) -> None:
        """Raise a ValueError if the task can be evaluated with embeddings only."""
        if not self.takes_scorers:
            raise ValueError(
                f"task {self.name!r} is evaluated with embeddings alone; leave out the baselines "
                "bm25, fusion and rrf"
            )

    def write_run(
        self,
        path: str | Path,
        query_embeddings: Embeddings,
        candidate_embeddings: Embeddings,
        *,
        depth: int = RUN_DEPTH,
        tag: str = "hybrid_fast",
    ) -> None:
        """Write the ranking of the union pool as a TREC run, and the qrels that belong to it.

        The qrels go to `path` + ".qrels". If several queries (translations) or several candidates
        share an id, ids are written as "language:id" in both files.

        Args:
            path: the file, compressed as its suffix says (".gz", ".zst").
            query_embeddings: as in `score`.
            candidate_embeddings: as in `score`.
            depth: number of candidates per query.
            tag: the last field of each line; white space in it becomes "_".

        Raises:
            TypeError, ValueError: as `score`, or if depth is not positive or an id contains white
                space.
        """
        queries, candidates = self._checked(query_embeddings, candidate_embeddings)
        ranking = self.own_ids.first(queries, candidates, depth, self.document_scores)
        write_run_and_qrels(path, *self.run_ids(), ranking, self.judged, tag)

    def run_ids(self) -> tuple[list[str], list[str]]:
        """Return the ids of queries and of the pool's members, as `write_run` writes them.

        Raises:
            ValueError: if an id contains white space, or occurs twice in a language.
        """
        return distinct_ids(self.queries), distinct_ids(self.pool)

    def _checked(
        self, query_embeddings: Embeddings, candidate_embeddings: Embeddings
    ) -> tuple[np.ndarray, np.ndarray]:
        return checked_embeddings(
            self.name, self.queries, self.candidates, query_embeddings, candidate_embeddings
        )

    def _rank(self, score_rows: ScoreRows, info: RunInfo, shared: SharedWork | None) -> Results:
        scores, rankings = rank_queries(
            self.own_ids.mask(score_rows),
            self.queries,
            self.pool,
            self.relevants,
            self.metrics,
            unfound=self.judged.unfound,
            document_scores=self.document_scores,
            shared=shared,
        )
        results = self._results(scores, info, rankings)
        unanswered = count_unanswered(self.queries, self.judged.counts)
        results.counts.other["without_relevants"] = unanswered
        return results

    def _results(
        self, scores: QueryScores, info: RunInfo, rankings: RankingBias | None = None
    ) -> Results:
        """Average the scores of queries into results."""
        counts = Counts(
            queries=self.queries.counts,
            candidates=self.pool.counts,
            pool=len(self.pool),
            dropped=scores.dropped(self.grid_metrics[-1]),
        )
        if self.document_scores is not None:
            counts.other["segments"] = len(self.candidates)
        blank = {"candidate_text": None, "max_length": None, "prompts": None, "dtype": None}
        return Results(
            task=self.name,
            info=replace(info, settings={**blank, **self.settings, **info.settings}),
            versions=library_versions(),
            metrics=scores.averages(),
            grid={name: scores.grid(name) for name in self.grid_metrics},
            language_bias=scores.language_bias(len(self.pool), rankings),
            counts=counts,
            per_query=scores.per_query(),
        )
