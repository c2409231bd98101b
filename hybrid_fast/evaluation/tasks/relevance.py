"""Which candidates answer which queries: as candidates name them, or by relevance judgements."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from hybrid_fast.evaluation.ranks import Relevants
from hybrid_fast.evaluation.tasks.queries import Candidate
from hybrid_fast.retrieval.texts import TextCollection

logger = logging.getLogger(__name__)

Answers = list[tuple[str, int]]  # the id of a query, and the number of a candidate that answers it


def collect_answers(
    candidates: Iterable[Candidate], answers: Answers
) -> Iterator[tuple[str, str, str]]:
    """Yield id, language and text of candidates, appending to `answers` what each answers."""
    for number, candidate in enumerate(candidates):
        answers.extend((query_id, number) for query_id in dict.fromkeys(candidate.query_ids))
        yield candidate[:3]


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
    rows_by_id: dict[str, list[int]] = defaultdict(list)
    for query_id, number in answers:
        rows_by_id[query_id].append(row_of[number])
    rows = [sorted(rows_by_id.get(query_id, [])) for query_id in query_ids]
    return Relevants(
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        rows=np.array([row for some in rows for row in some], dtype=np.int64),
    )


def relevants_from_qrels(
    task: str,
    query_ids: Sequence[str],
    candidate_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
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
    return Relevants(
        offsets=np.cumsum([0, *map(len, judged)], dtype=np.int64),
        rows=np.array([row for some in judged for row, _ in some], dtype=np.int64),
        grades=np.array([grade for some in judged for _, grade in some], dtype=np.int64),
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
