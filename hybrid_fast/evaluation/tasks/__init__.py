"""Retrieval tasks by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hybrid_fast.data.names import nearest
from hybrid_fast.evaluation.tasks.builtin import load_builtin
from hybrid_fast.evaluation.tasks.lareqa import SIZES, load_lareqa
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.evaluation.tasks.texts import Candidate, Query, TextCollection

__all__ = ["TASKS", "Candidate", "Query", "RetrievalTask", "TextCollection", "load_task"]

TASKS = ("builtin", *SIZES)


def load_task(
    name: str,
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    candidate_text: str | None = None,
) -> RetrievalTask:
    """Load a task by name.

    Args:
        name: "builtin", "xquad-r" or "mlqa-r".
        data: folder of the data set's files, `<language>.json`; the built-in task needs none.
        languages: codes of the languages to take; default all.
        candidate_text: "sentence+context" (default) or "sentence", for xquad-r and mlqa-r.

    Raises:
        ValueError: if the name, a language or `candidate_text` is unknown, `data` is missing or
            given to the built-in task, or a file is malformed.
        FileNotFoundError: if the folder or a file in it is not there.
    """
    if name not in TASKS:
        hint = nearest(str(name).lower(), TASKS)
        raise ValueError(f"there is no task {name!r}; the tasks are {', '.join(TASKS)}{hint}")
    if name != "builtin":
        return load_lareqa(name, data, languages=languages, candidate_text=candidate_text)
    if data is not None or candidate_text is not None:
        raise ValueError(
            "the built-in task comes with its texts; leave out data and candidate_text"
        )
    return load_builtin(languages)
