"""Evaluation of retrievers within, across and over all languages."""

from hybrid_fast.evaluation.significance import compare_runs
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask, load_task, task_names
from hybrid_fast.evaluation.trec_run import RunScores, evaluate_run
from hybrid_fast.results import PerQuery, Results

__all__ = [
    "Candidate",
    "PerQuery",
    "Query",
    "Results",
    "RetrievalTask",
    "RunScores",
    "compare_runs",
    "evaluate_run",
    "load_task",
    "task_names",
]
