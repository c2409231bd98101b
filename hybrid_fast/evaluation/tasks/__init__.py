"""Retrieval tasks: what they are, and loading them by name."""

from hybrid_fast.evaluation.tasks.queries import Candidate, Query
from hybrid_fast.evaluation.tasks.registry import check_task, load_task, task_names
from hybrid_fast.evaluation.tasks.task import RetrievalTask

__all__ = ["Candidate", "Query", "RetrievalTask", "check_task", "load_task", "task_names"]
