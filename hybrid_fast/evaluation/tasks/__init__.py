"""Retrieval tasks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hybrid_fast.common.choices import nearest
from hybrid_fast.evaluation.tasks.bitext import load_bitext
from hybrid_fast.evaluation.tasks.builtin import load_builtin
from hybrid_fast.evaluation.tasks.collections import load_beir, load_trec
from hybrid_fast.evaluation.tasks.lareqa import SIZES, load_lareqa
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.evaluation.tasks.texts import Candidate, Query, TextCollection
from hybrid_fast.evaluation.tasks.tydiqa import load_tydiqa
from hybrid_fast.evaluation.tasks.wikipedia import DATA_SETS, load_wikipedia
from hybrid_fast.evaluation.tasks.xor_tydi import load_xor_tydi

__all__ = ["TASKS", "Candidate", "Query", "RetrievalTask", "TextCollection", "load_task"]

_LOADERS: dict[str, Callable[..., RetrievalTask]] = {
    "builtin": load_builtin,
    **{name: partial(load_lareqa, name) for name in SIZES},
    **{name: partial(load_wikipedia, name) for name in DATA_SETS},
    "tydiqa-goldp": load_tydiqa,
    "xor-tydi": load_xor_tydi,
    **{name: partial(load_bitext, name) for name in ("tatoeba", "bitext")},
    "beir": load_beir,
    "trec": load_trec,
}
TASKS = tuple(_LOADERS)


def check_task(name: str) -> None:
    """Raise a ValueError that names the nearest task unless there is one of this name."""
    if name not in TASKS:
        hint = nearest(str(name).lower(), TASKS)
        raise ValueError(f"there is no task {name!r}; the tasks are {', '.join(TASKS)}{hint}")


def load_task(
    name: str,
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    candidate_text: str | None = None,
    split: str | None = None,
    segment_length: int | None = None,
    document_score: str | None = None,
) -> RetrievalTask:
    """Load a task by name; docs/evaluation.md says which files and options each has.

    Args:
        name: one of `TASKS`.
        data: folder of the data set's files, or, of some, its name on the hub; the built-in task
            needs none.
        languages: codes of the languages to take; default all.
        candidate_text: what of a passage is searched: "sentence+context" (default) or "sentence" of
            xquad-r and mlqa-r, "title+text" (default) or "text" of collections.
        split: which part of the data set, such as "dev"; default the one that figures are
            published of.
        segment_length: rank documents by windows of so many characters; beir and trec.
        document_score: "max" (default) or "mean@k", the score of a document from its windows.

    Raises:
        ValueError: if the name, a language or another option is unknown, the task does not have an
            option, `data` is missing or given to the built-in task, or a file is malformed.
        FileNotFoundError: if the folder or a file in it is not there, or the hub is out of reach.
        ImportError: if the task needs a package that is not installed.
    """
    check_task(name)
    options = {
        "data": data,
        "candidate_text": candidate_text,
        "split": split,
        "segment_length": segment_length,
        "document_score": document_score,
    }
    known = inspect.signature(_LOADERS[name]).parameters
    for option, value in options.items():
        if value is not None and option not in known:
            has = ", ".join(each for each in options if each in known) or "none"
            raise ValueError(
                f"task {name!r} has no {option}: leave out {option}={str(value)!r}; its options "
                f"are {has}"
            )
    given = {option: value for option, value in options.items() if option in known}
    return _LOADERS[name](**given, languages=languages)
