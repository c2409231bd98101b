"""The built-in task: the unseen questions of the built-in corpus, in all its languages."""

from __future__ import annotations

from collections.abc import Sequence

from hybrid_fast.data.builtin import LANGUAGES, builtin_items
from hybrid_fast.evaluation.tasks.queries import Candidate, Query, check_languages
from hybrid_fast.evaluation.tasks.task import RetrievalTask


def load_builtin(languages: Sequence[str] | None = None) -> RetrievalTask:
    """Return the built-in task; the passages of a query's group are relevant to it.

    Args:
        languages: codes of the languages to load; default all.

    Raises:
        TypeError: if `languages` is a string.
        ValueError: if a language is not in the corpus, or the list is empty.
    """
    chosen = check_languages(languages, LANGUAGES, "builtin")
    columns = builtin_items("test")
    keys = ("group_id", "lang", "query", "passage")
    items = [
        item for item in zip(*(columns[key] for key in keys), strict=True) if item[1] in chosen
    ]
    return RetrievalTask(
        "builtin",
        [Query(group, lang, query) for group, lang, query, _ in items],
        [Candidate(f"{lang}_{group}", lang, text, (group,)) for group, lang, _, text in items],
        {"candidate_text": "passage"},
    )
