"""Evaluation of retrievers within, across and over all languages, and its report.

What draws and prints loads on first use, so that training with an evaluator does not import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from hybrid_fast.evaluation.results import PerQuery, Results
from hybrid_fast.evaluation.significance import compare_runs
from hybrid_fast.evaluation.tasks import TASKS, Candidate, Query, RetrievalTask, load_task
from hybrid_fast.evaluation.trec import RunFigures, evaluate_run

if TYPE_CHECKING:
    from hybrid_fast.evaluation.report import write_report as write_report
    from hybrid_fast.evaluation.terminal import print_results as print_results

_HOMES = {"print_results": "terminal", "write_report": "report"}
__all__ = [
    "TASKS",
    "Candidate",
    "PerQuery",
    "Query",
    "Results",
    "RetrievalTask",
    "RunFigures",
    "compare_runs",
    "evaluate_run",
    "load_task",
    "print_results",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
