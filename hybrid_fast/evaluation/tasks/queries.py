"""Queries and candidates of a task, and which candidates name the queries that they answer."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from hybrid_fast.data.languages import codes_meant
from hybrid_fast.evaluation.ranks import Relevants, Unfound
from hybrid_fast.evaluation.tasks.inputs import Grades, checked_grades
from hybrid_fast.evaluation.tasks.judgements import Judged
from hybrid_fast.retrieval.texts import TextCollection, store_texts

logger = logging.getLogger(__name__)

# The id of a query, the number of a candidate that answers it, and the grade.
Answers = list[tuple[str, int, float]]


class Query(NamedTuple):
    """A question; translations of one another share the id.

    Attributes:
        id: text, or anything whose text is the id: a number, a UUID.
        lang: a language code in any spelling.
        text: the question.
    """

    id: Any
    lang: str
    text: str


class Candidate(NamedTuple):
    """A text to be found.

    Attributes:
        id: text, or anything whose text is the id: a number, a UUID.
        lang: a language code in any spelling.
        text: the text.
        query_ids: ids of the queries, in any language, that it answers; or these ids to grades,
            relevant above 0. None: of none.
    """

    id: Any
    lang: str
    text: str
    query_ids: Iterable[Any] | Grades | None = ()


def store_by_language(
    task: str,
    queries: Iterable[tuple[str, str, str]],
    candidates: Iterable[tuple[str, str, str]],
) -> tuple[TextCollection, TextCollection]:
    """Store queries and candidates, sorted by language; the languages of both are numbered alike.

    Args:
        task: name of the task, for errors.
        queries: id, language and text of each; iterated over once.
        candidates: the same.

    Raises:
        ValueError: if there are no queries or no candidates.
    """
    stored_queries, stored_candidates = store_texts(queries), store_texts(candidates)
    if not stored_queries.num_rows or not stored_candidates.num_rows:
        raise ValueError(
            f"task {task!r} has {stored_queries.num_rows} queries and "
            f"{stored_candidates.num_rows} candidates; at least one of each is needed"
        )
    codes = {*stored_queries["lang"].unique().to_pylist()}
    codes |= {*stored_candidates["lang"].unique().to_pylist()}
    languages = tuple(sorted(codes))
    return TextCollection(stored_queries, languages), TextCollection(stored_candidates, languages)


def number_ids(ids: Sequence[str]) -> np.ndarray:
    """Return a number for each id, equal for equal ids, int64 (n,)."""
    numbers = {each: number for number, each in enumerate(dict.fromkeys(ids))}
    return np.array([numbers[each] for each in ids], dtype=np.int64)


def check_languages(
    languages: Sequence[str] | None, known: Iterable[str], task: str
) -> tuple[str, ...]:
    """Return the languages of a task to load, each once: those given in any spelling, all if None.

    Args:
        languages: codes in any spelling.
        known: the codes of the task's languages, normalised.
        task: name of the task, for errors.

    Raises:
        TypeError: if `languages` is a string, or a code is no text.
        ValueError: if a language is not known, or the list is empty.
    """
    known = tuple(known)
    if isinstance(languages, str):
        raise TypeError(f"languages is the text {languages!r}; give a list of codes")
    if languages is None:
        return known
    chosen = dict.fromkeys(
        each for code in languages for each in codes_meant(code, known) or [code]
    )
    unknown = sorted(set(chosen) - set(known))
    if unknown or not languages:
        found = f"has no {', '.join(unknown)}" if unknown else "needs at least one language"
        raise ValueError(f"task {task!r} {found}; its languages are {', '.join(known)}")
    return tuple(chosen)


def collect_answers(
    task: str, candidates: Iterable[Candidate], answers: Answers
) -> Iterator[Candidate]:
    """Yield the candidates; append what each of them answers to `answers`.

    Raises:
        TypeError: if its query ids are one text, one is missing, or a grade is no number.
        ValueError: if a query id comes with two grades.
    """
    for number, candidate in enumerate(candidates):
        graded = candidate[3] if isinstance(candidate, tuple) and len(candidate) > 3 else ()
        if not isinstance(graded, tuple) or graded:
            where = f"task {task!r}: query_ids of candidate {candidate[0]!r}"
            grades = checked_grades(graded, where)
            answers.extend((each, number, grade) for each, grade in grades.items() if grade > 0)
        yield candidate


def relevants_from_answers(
    queries: TextCollection, candidates: TextCollection, answers: Answers
) -> Judged:
    """Return the relevants that candidates name, see `collect_answers`.

    Ids that no query has are ignored.
    """
    row_of = np.empty_like(candidates.original_rows)
    row_of[candidates.original_rows] = np.arange(len(candidates))
    judged_by_id: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for query_id, number, grade in answers:
        judged_by_id[query_id].append((row_of[number], grade))
    judged = [sorted(judged_by_id.get(query_id, [])) for query_id in queries.ids]
    grades = np.array([grade for some in judged for _, grade in some], dtype=np.float64)
    relevants = Relevants(
        offsets=np.cumsum([0, *map(len, judged)], dtype=np.int64),
        rows=np.array([row for some in judged for row, _ in some], dtype=np.int64),
        grades=None if (grades == 1).all() else grades,
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
