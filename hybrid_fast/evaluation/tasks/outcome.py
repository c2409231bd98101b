"""The results of a task from the scores of its queries."""

from __future__ import annotations

from dataclasses import replace

from hybrid_fast.evaluation.tasks.queries import count_unanswered
from hybrid_fast.evaluation.tasks.query_scores import QueryScores
from hybrid_fast.evaluation.tasks.task_texts import TaskTexts
from hybrid_fast.results import Counts, RankingBias, Results, RunInfo
from hybrid_fast.results.results import library_versions


def make_results(
    task: TaskTexts, scores: QueryScores, info: RunInfo, rankings: RankingBias | None = None
) -> Results:
    """Average the scores of queries into results.

    Args:
        task: what was evaluated.
        scores: of its queries.
        info: describes what gave the scores.
        rankings: language bias by rankings of the union pool; None if the task ranks none.
    """
    counts = Counts(
        queries=task.queries.counts,
        candidates=task.pool.counts,
        pool=len(task.pool),
        dropped=scores.dropped(),
    )
    if task.document_scores is not None:
        counts.other["segments"] = len(task.candidates)
    if rankings is not None:
        unanswered = count_unanswered(task.queries, task.judged.counts)
        counts.other["without_relevants"] = unanswered
    blank = {"candidate_text": None, "max_length": None, "prompts": None, "dtype": None}
    return Results(
        task=task.name,
        info=replace(info, settings={**blank, **task.settings, **info.settings}),
        versions=library_versions(),
        metrics=scores.averages(),
        grid={name: scores.grid(name) for name in task.grid_metrics},
        language_bias=scores.language_bias(len(task.pool), rankings),
        counts=counts,
        per_query=scores.per_query(),
    )
