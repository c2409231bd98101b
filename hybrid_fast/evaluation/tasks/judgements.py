"""Relevance judgements of a task: what they name is found in the task, or counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from hybrid_fast.data.formats.tolerance import Tolerance
from hybrid_fast.data.formats.trec_runs import with_text_ids
from hybrid_fast.evaluation.ranks import Relevants, Unfound
from hybrid_fast.retrieval.texts import Pool, TextCollection

Qrels = Mapping[str, Mapping[str, float]]
Missing = Literal["zero", "leave-out"]


class Judged(NamedTuple):
    """The relevants of a task: those that a ranking can hold, and those that none can."""

    relevants: Relevants
    unfound: Unfound

    @property
    def counts(self) -> np.ndarray:
        """Number of relevants of each query, of either kind: int64 (num_queries,)."""
        num_queries = len(self.relevants.counts)
        return self.relevants.counts + np.bincount(self.unfound.query_rows, minlength=num_queries)


def relevants_from_qrels(
    task: str,
    queries: TextCollection,
    pool: Pool,
    qrels: Qrels,
    *,
    missing: Missing = "zero",
    strict: bool = False,
) -> Judged:
    """Return the relevants by judgements; a grade above 0 is relevant.

    Judgements of queries that the task lacks are left out; relevants that the pool lacks can never
    be found. A warning counts either kind.

    Args:
        task: name of the task, for messages.
        queries: the queries; those that share an id share its judgements.
        pool: the candidates.
        qrels: query id to candidate id to grade.
        missing: how relevants count that the pool lacks: "zero": they are never found, as in
            trec_eval, where it is known which language they would have: that of the pool, or that
            of the query if all other relevants have it; "leave-out": not at all.
        strict: judgements of queries or candidates that the task lacks are errors.

    Raises:
        TypeError: if an id is neither text nor a whole number, or a grade is no number.
        ValueError: if a candidate id occurs twice, or the task has no query or no candidate that
            the qrels name.
    """
    if len(set(pool.ids)) < len(pool.ids):
        repeated, _ = Counter(pool.ids).most_common(1)[0]
        raise ValueError(f"task {task!r}: candidate id {repeated!r} occurs more than once")
    qrels = with_text_ids(qrels, "qrels", "grade")
    named = {each for grades in qrels.values() for each in grades}
    row_of = {each: row for row, each in enumerate(pool.ids) if each in named}
    offsets = [0]
    found: list[tuple[int, int, float]] = []
    lacking: list[tuple[int, float, str]] = []
    for query, query_id in enumerate(queries.ids):
        positive = {each: grade for each, grade in qrels.get(query_id, {}).items() if grade > 0}
        found += sorted(
            (query, row_of[each], grade) for each, grade in positive.items() if each in row_of
        )
        lacking += [(query, grade, each) for each, grade in positive.items() if each not in row_of]
        offsets.append(len(found))
    relevants = Relevants(
        offsets=np.array(offsets, dtype=np.int64),
        rows=np.array([row for _, row, _ in found], dtype=np.int64),
        grades=np.array([grade for *_, grade in found], dtype=np.float64),
    )
    codes = _languages_of_lacking(queries, pool, relevants) if missing == "zero" else None
    tolerance = Tolerance(f"task {task!r}", strict)
    become = "left out" if codes is None else "counted as never found"
    _check_known(task, "queries", qrels, queries.ids, "left out", tolerance)
    _check_known(task, "candidates", named, pool.ids, become, tolerance)
    tolerance.report()
    if codes is None:
        return Judged(relevants, Unfound.of([]))
    unfound = [(query, int(codes[query]), grade, each) for query, grade, each in lacking]
    return Judged(relevants, Unfound.of(unfound))


def _languages_of_lacking(
    queries: TextCollection, pool: Pool, relevants: Relevants
) -> np.ndarray | None:
    """Return the language that relevants of each query would have that the pool lacks.

    Returns:
        Language codes (num_queries,): that of the pool if it is one, or of the query if all
        relevants have the language of their query; else None.
    """
    codes = np.unique(pool.language_codes)
    if len(codes) == 1:
        return np.full(len(queries), codes[0])
    of_queries = queries.language_codes[relevants.query_rows]
    is_own = (pool.language_codes[relevants.rows] == of_queries).all()
    return queries.language_codes if is_own else None


def _check_known(
    task: str,
    name: str,
    named: Collection[str],
    known: Sequence[str],
    become: str,
    tolerance: Tolerance,
) -> None:
    unknown = sorted(set(named) - set(known))
    if not unknown:
        return
    some = f"{', '.join(map(repr, unknown[:3]))}{' ...' if len(unknown) > 3 else ''}"
    if len(unknown) == len(named):
        raise ValueError(
            f"task {task!r}: the task has none of the {len(unknown)} {name} that the qrels name: "
            f"its ids are like {', '.join(map(repr, sorted(known[:3])))}, theirs like {some}"
        )
    where = f"task {task!r}: qrels name {len(unknown)} {name} that the task lacks: {some}"
    if tolerance.strict:
        raise ValueError(where)
    tolerance.allow(f"judged {name} that the task lacks, {become}", repr(unknown[0]), len(unknown))
