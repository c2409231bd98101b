"""Relevance judgements of a task: what they name is found in the task, or counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from hybrid_fast.data.formats.tolerance import Tolerance
from hybrid_fast.evaluation.ranks import Relevants, Unfound
from hybrid_fast.retrieval.texts import Pool, TextCollection

Qrels = Mapping[str, Mapping[str, float]]
Missing = Literal["zero", "leave-out"]


class Judged(NamedTuple):
    """The relevants of a task by judgements: those that can be found, and those that cannot."""

    relevants: Relevants
    unfound: Unfound


def relevants_from_qrels(
    task: str,
    queries: TextCollection,
    pool: Pool,
    qrels: Qrels,
    *,
    missing: Missing = "zero",
    exclude_self: bool = False,
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
        exclude_self: a candidate with the id of its query can never be found.
        strict: judgements of queries or candidates that the task lacks are errors.

    Raises:
        ValueError: if a candidate id occurs twice, or the task has no query or no candidate that
            the qrels name.
    """
    if len(set(pool.ids)) < len(pool.ids):
        repeated, _ = Counter(pool.ids).most_common(1)[0]
        raise ValueError(f"task {task!r}: candidate id {repeated!r} occurs more than once")
    named = {each for grades in qrels.values() for each in grades}
    row_of = {each: row for row, each in enumerate(pool.ids) if each in named}
    offsets, found, unfound = [0], [], []
    lacking: list[tuple[int, float, str]] = []
    for query, query_id in enumerate(queries.ids):
        for each, grade in qrels.get(query_id, {}).items():
            row = row_of.get(each)
            if grade > 0 and row is None:
                lacking.append((query, grade, each))
            elif grade > 0 and exclude_self and each == query_id:
                unfound.append((query, int(pool.language_codes[row]), grade, each))
            elif grade > 0:
                found.append((query, row, grade))
        offsets.append(len(found))
    relevants = Relevants(
        offsets=np.array(offsets, dtype=np.int64),
        rows=np.array([row for _, row, _ in sorted(found)], dtype=np.int64),
        grades=np.array([grade for *_, grade in sorted(found)], dtype=np.float64),
    )
    languages = _languages_of_lacking(queries, pool, relevants) if missing == "zero" else None
    if languages is not None:
        unfound += [(query, int(languages[query]), grade, each) for query, grade, each in lacking]
    become = "left out" if languages is None else "counted as never found"
    tolerance = Tolerance(f"task {task!r}", strict)
    _check_known(task, "queries", qrels, queries.ids, "left out", tolerance)
    _check_known(task, "candidates", named, pool.ids, become, tolerance)
    tolerance.report()
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
