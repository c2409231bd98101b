"""The texts of a task, and which of them answer which.

Queries, candidates and judgements are what TREC calls a test collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hybrid_fast.data.languages import normalize_language
from hybrid_fast.evaluation import metrics
from hybrid_fast.evaluation.segments import DocumentScores, find_documents
from hybrid_fast.evaluation.tasks.inputs import TextChecks
from hybrid_fast.evaluation.tasks.judgements import Missing, relevants_from_qrels
from hybrid_fast.evaluation.tasks.own_ids import OwnIds
from hybrid_fast.evaluation.tasks.queries import (
    Answers,
    Candidate,
    Query,
    collect_answers,
    relevants_from_answers,
    store_by_language,
    warn_of_unanswered,
)
from hybrid_fast.evaluation.tasks.run_files import distinct_ids
from hybrid_fast.results.plain import plain
from hybrid_fast.retrieval.texts import Pool

GRID_METRICS = ("map", "recall@1")


class TaskTexts:
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

    def run_ids(self) -> tuple[list[str], list[str]]:
        """Return the ids of queries and of the pool's members, as `write_run` writes them.

        Raises:
            ValueError: if an id contains white space, or occurs twice in a language.
        """
        return distinct_ids(self.queries), distinct_ids(self.pool)
