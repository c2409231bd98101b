"""Queries and candidates of a task, and which candidates answer which queries.

What answers a query is named by the candidates themselves, or by relevance judgements.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from hybrid_fast.data.languages import normalize_language
from hybrid_fast.evaluation.ranks import Relevants
from hybrid_fast.evaluation.tasks.inputs import Grades, checked_grades
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
            relevant above 0.
    """

    id: Any
    lang: str
    text: str
    query_ids: Iterable[Any] | Grades = ()


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
    """Return the languages of a task to load, each once: those given, all if None.

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
    languages = [_known_code(code, known) for code in languages]
    unknown = sorted(set(languages) - set(known))
    if unknown or not languages:
        found = f"has no {', '.join(unknown)}" if unknown else "needs at least one language"
        raise ValueError(f"task {task!r} {found}; its languages are {', '.join(known)}")
    return tuple(dict.fromkeys(languages))


def _known_code(code: str, known: Collection[str]) -> str:
    """Return a code as it is if the task knows it, else normalised if it is of any language."""
    if code in known:
        return code
    with suppress(ValueError):
        return normalize_language(code)
    return code


def collect_answers(
    task: str, candidates: Iterable[Candidate], answers: Answers
) -> Iterator[Candidate]:
    """Yield the candidates; append what each of them answers to `answers`.

    Raises:
        TypeError: if its query ids are one text, or a grade is no number.
        ValueError: if a query id is missing, or comes with two grades.
    """
    for number, candidate in enumerate(candidates):
        graded = candidate[3] if isinstance(candidate, tuple) and len(candidate) > 3 else ()
        if graded != ():
            where = f"task {task!r}: query_ids of candidate {candidate[0]!r}"
            grades = checked_grades(graded, where)
            answers.extend((each, number, grade) for each, grade in grades.items() if grade > 0)
        yield candidate


def relevants_from_answers(
    query_ids: Sequence[str], answers: Answers, original_rows: np.ndarray
) -> Relevants:
    """Return the relevants that candidates name.

    Args:
        query_ids: id of each query.
        answers: see `collect_answers`; ids that no query has are ignored.
        original_rows: the number of each candidate, see `TextCollection`.
    """
    row_of = np.empty_like(original_rows)
    row_of[original_rows] = np.arange(len(original_rows))
    judged_by_id: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for query_id, number, grade in answers:
        judged_by_id[query_id].append((row_of[number], grade))
    found = _relevants([sorted(judged_by_id.get(query_id, [])) for query_id in query_ids])
    return found if np.any(found.grades != 1) else found._replace(grades=None)


def relevants_from_qrels(
    task: str,
    query_ids: Sequence[str],
    candidate_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, float]],
) -> Relevants:
    """Return the relevants by judgements; a grade above 0 is relevant.

    Args:
        task: name of the task, for errors.
        query_ids: id of each query; queries that share one share its judgements.
        candidate_ids: id of each candidate.
        qrels: query id to candidate id to grade.

    Raises:
        ValueError: if a candidate id occurs twice, or qrels name an unknown query or candidate.
    """
    if len(set(candidate_ids)) < len(candidate_ids):
        repeated, _ = Counter(candidate_ids).most_common(1)[0]
        raise ValueError(f"task {task!r}: candidate id {repeated!r} occurs more than once")
    named = {each for grades in qrels.values() for each in grades}
    row_of = {each: row for row, each in enumerate(candidate_ids) if each in named}
    _check_known(task, "queries", set(qrels) - set(query_ids))
    _check_known(task, "candidates", named - set(row_of))
    judged = [
        sorted(
            (row_of[each], grade) for each, grade in qrels.get(query_id, {}).items() if grade > 0
        )
        for query_id in query_ids
    ]
    return _relevants(judged)


def _relevants(judged: Sequence[Sequence[tuple[int, float]]]) -> Relevants:
    """Return the relevants of queries, each given as the rows that answer it with their grades."""
    return Relevants(
        offsets=np.cumsum([0, *map(len, judged)], dtype=np.int64),
        rows=np.array([row for some in judged for row, _ in some], dtype=np.int64),
        grades=np.array([grade for some in judged for _, grade in some], dtype=np.float64),
    )


def _check_known(task: str, name: str, unknown: set[str]) -> None:
    if unknown:
        some = ", ".join(map(repr, sorted(unknown)[:3]))
        raise ValueError(
            f"task {task!r}: qrels name {len(unknown)} {name} that the task lacks: {some}"
            f"{' ...' if len(unknown) > 3 else ''}"
        )


def count_unanswered(queries: TextCollection, relevants: Relevants) -> dict[str, int]:
    """Return the number of queries of each language that have no relevant candidate at all."""
    codes = queries.language_codes[relevants.counts == 0]
    counts = np.bincount(codes, minlength=len(queries.languages)).tolist()
    return {language: counts[queries.languages.index(language)] for language in queries.counts}


def warn_of_unanswered(task: str, queries: TextCollection, relevants: Relevants) -> None:
    """Log a warning with the number of queries that have no relevant candidate, if any."""
    some = {code: count for code, count in count_unanswered(queries, relevants).items() if count}
    if some:
        totals = queries.counts
        logger.warning(
            "task %r: queries without a relevant candidate are left out: %s",
            task,
            ", ".join(f"{code} {count} of {totals[code]}" for code, count in some.items()),
        )
