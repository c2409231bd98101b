"""Tasks by name: ours, and those of other packages, found through entry points.

A package offers a task by an entry point of the group `hybrid_fast.tasks`:

    [project.entry-points."hybrid_fast.tasks"]
    my-task = "my_package.tasks:load_my_task"

The loader returns a `RetrievalTask` and takes, by keyword, those arguments of `load_task` that it
has. If its first parameter is called `name`, the entry is a family: `load_task("my-task:NAME")`
calls it with NAME. A package is imported only when one of its tasks is loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

from hybrid_fast.common.choices import nearest
from hybrid_fast.common.plugins import find_plugin, plugin_names
from hybrid_fast.evaluation.tasks.task import RetrievalTask

Loader = Callable[..., RetrievalTask]

GROUP = "hybrid_fast.tasks"
_TASKS = "hybrid_fast.evaluation.tasks"
# The entry points of pyproject.toml, so that our tasks are known in a checkout too.
OWN_TASKS = {
    "builtin": f"{_TASKS}.builtin:load_builtin",
    "xquad-r": f"{_TASKS}.lareqa:load_xquad_r",
    "mlqa-r": f"{_TASKS}.lareqa:load_mlqa_r",
    "miracl": f"{_TASKS}.wikipedia:load_miracl",
    "mr-tydi": f"{_TASKS}.wikipedia:load_mr_tydi",
    "tydiqa-goldp": f"{_TASKS}.tydiqa:load_tydiqa",
    "xor-tydi": f"{_TASKS}.xor_tydi:load_xor_tydi",
    "tatoeba": f"{_TASKS}.bitext:load_tatoeba",
    "bitext": f"{_TASKS}.bitext:load_bitext",
    "beir": f"{_TASKS}.collections:load_beir",
    "trec": f"{_TASKS}.collections:load_trec",
}


def load_task(
    name: str,
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    candidate_text: str | None = None,
    split: str | None = None,
    segment_length: int | None = None,
    document_score: str | None = None,
    exclude_self: bool | None = None,
    strict: bool | None = None,
    match: str | None = None,
) -> RetrievalTask:
    """Load a task by name; docs/evaluation.md lists the files and options of each of ours.

    Args:
        name: one of `task_names()`, or "prefix:NAME" for a task of a family.
        data: folder of the data set's files or, for some tasks, its name on the hub; the built-in
            task needs none.
        languages: codes of the languages to load; default all.
        candidate_text: the part of a passage that is searched: "sentence+context" (default) or
            "sentence" for xquad-r and mlqa-r, "title+text" (default) or "text" for collections.
        split: the part of the data set, such as "dev"; default the one that published scores are
            for.
        segment_length: rank documents by windows of this many characters; beir and trec.
        document_score: how windows score their document: "max" (default) or "mean@k".
        exclude_self: leave the document with the id of a query out of its ranking, as BEIR does,
            where queries are documents; beir (default True for folders called arguana or quora)
            and trec.
        strict: empty documents, judgements of missing ids, grades that are no whole numbers and
            the like are errors; by default they are let pass with a warning that counts them.
        match: where sentences repeat, what tells a translation, "line" (default) or "text";
            tatoeba and bitext.

    Raises:
        ValueError: if the name, a language or another option is unknown, the task does not have an
            option, `data` is missing or given to the built-in task, or a file is malformed.
        FileNotFoundError: if the folder or a file in it does not exist, or the hub cannot be
            reached.
        ImportError: if the task needs a package that is not installed, or is from a package that
            cannot be imported.
    """
    loader = find_loader(name)
    options = {
        "data": data,
        "candidate_text": candidate_text,
        "split": split,
        "segment_length": segment_length,
        "document_score": document_score,
        "exclude_self": exclude_self,
        "strict": strict,
        "match": match,
        "languages": languages,
    }
    given = {option: value for option, value in options.items() if value is not None}
    _check_options(name, loader, given, options)
    return loader(**given)


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks and families of tasks, ours first."""
    return tuple(dict.fromkeys([*OWN_TASKS, *plugin_names(GROUP)]))


def check_task(name: str) -> None:
    """Raise a ValueError that names the nearest task unless a task of this name is known."""
    known, prefix = task_names(), str(name).partition(":")[0]
    if prefix not in known:
        raise ValueError(
            f"there is no task {name!r}; the tasks are {', '.join(known)}{nearest(prefix, known)}"
        )


def find_loader(name: str) -> Loader:
    """Import the loader of a task; of a family, with the name of the task bound.

    Raises:
        ValueError: if there is no such task.
        ImportError: if it cannot be imported.
    """
    check_task(name)
    prefix, colon, member = name.partition(":")
    loader = _import_loader(prefix)
    is_family = next(iter(inspect.signature(loader).parameters), None) == "name"
    if is_family and not member:
        raise ValueError(f"{prefix!r} is a family of tasks; name one of them: '{prefix}:NAME'")
    if colon and not is_family:
        raise ValueError(f"task {prefix!r} is no family of tasks; give {prefix!r}, not {name!r}")
    return partial(loader, member) if is_family else loader


def _import_loader(name: str) -> Loader:
    entry = _find_entry(name)
    package = entry.dist.name if entry.dist else "hybrid_fast"
    try:
        loader = entry.load()
    except Exception as error:  # the import runs the code of another package
        raise ImportError(
            f"task {name!r} of package {package} cannot be imported from {entry.value!r} "
            f"({type(error).__name__}: {error}); update or uninstall {package}"
        ) from error
    if not callable(loader):
        raise ImportError(
            f"task {name!r} of package {package}: {entry.value!r} is of type "
            f"{type(loader).__name__}; it must be a function that returns a RetrievalTask"
        )
    return loader


def _find_entry(name: str) -> EntryPoint:
    """Return the entry point of a known task; ours cannot be replaced by other packages."""
    if name in OWN_TASKS:
        return EntryPoint(name, OWN_TASKS[name], GROUP)
    return find_plugin(GROUP, name, "task")


def _check_options(
    task: str, loader: Loader, given: Iterable[str], options: Mapping[str, object]
) -> None:
    """Raise a ValueError if an option is given that the loader does not take."""
    parameters = inspect.signature(loader).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    others = ", ".join(each for each in options if each in parameters and each != "languages")
    besides = " besides languages" if "languages" in parameters else ""
    for option in given:
        if option not in parameters:
            raise ValueError(
                f"task {task!r} has no {option}: leave out {option}={str(options[option])!r}; its "
                f"options are {others or 'none'}{besides}"
            )
