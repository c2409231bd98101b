"""Evaluation by several processes: shared where the task allows it, else by the first one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch.distributed import ProcessGroup

from hybrid_fast.retrieval.encoders import takes_parameter
from hybrid_fast.retrieval.shared_work import SharedWork, shared_work

_T = TypeVar("_T")


def evaluate_on_ranks(
    task: object, evaluate: Callable[..., _T], group: ProcessGroup | None
) -> _T | None:
    """Evaluate a task with all ranks of a group, which call this together.

    Args:
        task: what is evaluated.
        evaluate: evaluates it; takes `process_group` as `RetrievalTask.evaluate` does.
        group: the ranks; None: this process is alone.

    Returns:
        What `evaluate` returns; on ranks other than the first None.

    Raises:
        RuntimeError: another rank has raised an exception; see `retrieval.endings`.
    """
    if group is None:
        return evaluate()
    if can_share(task):
        result = evaluate(process_group=group)
        return result if group.rank() == 0 else None
    shared: SharedWork | None
    with shared_work(group) as shared:
        assert shared is not None
        alone = evaluate() if shared.rank == 0 else None
        shared.meet()
    return alone


def can_share(task: object) -> bool:
    """Tell whether all methods of a task that an evaluation calls can share their work."""
    needed = {
        "evaluate": "process_group",
        "encode": "shared",
        "score": "shared",
        "score_by": "shared",
    }
    return all(
        takes_parameter(getattr(task, method, None), name) for method, name in needed.items()
    )
