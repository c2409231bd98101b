"""Queries and candidates of a task, and which candidates name the queries that they answer."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_fast.data.formats.trec_runs import id_text
from hybrid_fast.data.languages import is_same_language
from hybrid_fast.evaluation.ranks import Relevants, Unfound
from hybrid_fast.evaluation.tasks.judgements import Judged
from hybrid_fast.retrieval.texts import TextCollection, store_texts

logger = logging.getLogger(__name__)

Answers = list[tuple[str, int]]  # the id of a query, and the number of a candidate that answers it


class Query(NamedTuple):
    """A question; translations of one another share the id."""

    id: str
    lang: str
    text: str


class Candidate(NamedTuple):
    """A text to be found, and the ids of the queries, in any language, that it answers."""

    id: str
    lang: str
    text: str
    query_ids: tuple[str, ...] = ()


def store_by_language(
    task: str, queries: Iterable[Query], candidates: Iterable[tuple[str, str, str]]
) -> tuple[TextCollection, TextCollection]:
    """Store queries and candidates, sorted by language; the languages of both are numbered alike.

    Args:
        task: name of the task, for errors.
        queries: iterated over once.
        candidates: id, language and text of each; iterated over once.

    Raises:
        TypeError: if an id is neither text nor a whole number.
        ValueError: if there are no queries or no candidates, or a language is called "all".
    """
    stored_queries = store_texts(_with_text_ids(queries, f"task {task!r}: the id of a query"))
    stored_candidates = store_texts(
        _with_text_ids(candidates, f"task {task!r}: the id of a candidate")
    )
    if not stored_queries.num_rows or not stored_candidates.num_rows:
        raise ValueError(
            f"task {task!r} has {stored_queries.num_rows} queries and "
            f"{stored_candidates.num_rows} candidates; at least one of each is needed"
        )
    codes = {*stored_queries["lang"].unique().to_pylist()}
    codes |= {*stored_candidates["lang"].unique().to_pylist()}
    if "all" in codes:
        raise ValueError(
            f"task {task!r}: no language can be called 'all', which names the union pool"
        )
    languages = tuple(sorted(codes))
    return TextCollection(stored_queries, languages), TextCollection(stored_candidates, languages)


def _with_text_ids(
    texts: Iterable[tuple[str, str, str]], what: str
) -> Iterator[tuple[str, str, str]]:
    """Yield texts with whole numbers as ids made text."""
    return ((id_text(each[0], what), each[1], each[2]) for each in texts)


def number_ids(ids: Sequence[str]) -> np.ndarray:
    """Return a number for each id, equal for equal ids, int64 (n,)."""
    numbers = {each: number for number, each in enumerate(dict.fromkeys(ids))}
    return np.array([numbers[each] for each in ids], dtype=np.int64)


def check_languages(
    languages: Sequence[str] | None, known: Iterable[str], task: str
) -> tuple[str, ...]:
    """Return the languages of a task to load, each once: those given in any spelling, all if None.

    Raises:
        TypeError: if `languages` is a string.
        ValueError: if a language is not known, or the list is empty.
    """
    known = tuple(known)
    if isinstance(languages, str):
        raise TypeError(f"languages is the text {languages!r}; give a list of codes")
    if languages is None:
        return known
    chosen = dict.fromkeys(_known_spelling(code, known) for code in languages)
    unknown = sorted(set(chosen) - set(known))
    if unknown or not languages:
        found = f"has no {', '.join(unknown)}" if unknown else "needs at least one language"
        raise ValueError(f"task {task!r} {found}; its languages are {', '.join(known)}")
    return tuple(chosen)


def _known_spelling(code: str, known: Sequence[str]) -> str:
    """Return the language that a code is another spelling of (deu_Latn: de), else the code."""
    try:
        return next((name for name in known if is_same_language(code, name)), code)
    except (TypeError, ValueError):
        return code


def collect_answers(
    candidates: Iterable[Candidate], answers: Answers
) -> Iterator[tuple[str, str, str]]:
    """Yield id, language and text of each candidate; append what it answers to `answers`."""
    for number, candidate in enumerate(candidates):
        query_ids = (id_text(each, "the id of an answered query") for each in candidate.query_ids)
        answers.extend((query_id, number) for query_id in dict.fromkeys(query_ids))
        yield candidate[:3]


def relevants_from_answers(
    queries: TextCollection, candidates: TextCollection, answers: Answers
) -> Judged:
    """Return the relevants that candidates name, see `collect_answers`.

    Ids that no query has are ignored.
    """
    row_of = np.empty_like(candidates.original_rows)
    row_of[candidates.original_rows] = np.arange(len(candidates))
    rows_by_id: dict[str, list[int]] = defaultdict(list)
    for query_id, number in answers:
        rows_by_id[query_id].append(row_of[number])
    rows = [sorted(rows_by_id.get(query_id, [])) for query_id in queries.ids]
    relevants = Relevants(
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        rows=np.array([row for some in rows for row in some], dtype=np.int64),
    )
    return Judged(relevants, Unfound.of([]))


def count_unanswered(queries: TextCollection, num_relevants: np.ndarray) -> dict[str, int]:
    """Return how many queries of each language have none of their `num_relevants`, (n,)."""
    codes = queries.language_codes[num_relevants == 0]
    counts = np.bincount(codes, minlength=len(queries.languages)).tolist()
    return {language: counts[queries.languages.index(language)] for language in queries.counts}


def warn_of_unanswered(task: str, queries: TextCollection, num_relevants: np.ndarray) -> None:
    """Log a warning with the number of queries that have no relevant candidate, if any."""
    unanswered = count_unanswered(queries, num_relevants)
    some = {code: count for code, count in unanswered.items() if count}
    if some:
        totals = queries.counts
        logger.warning(
            "task %r: queries without a relevant candidate are left out: %s",
            task,
            ", ".join(f"{code} {count} of {totals[code]}" for code, count in some.items()),
        )
