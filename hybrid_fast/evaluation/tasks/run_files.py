"""The ranking of a task's union pool as a TREC run, with the qrels that belong to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hybrid_fast.data.formats.trec_runs import check_run_ids, write_qrels, write_run
from hybrid_fast.evaluation.tasks.judgements import Judged
from hybrid_fast.evaluation.tasks.pool_ids import distinguish
from hybrid_fast.retrieval.texts import Pool

# The depth of TREC's ad-hoc tracks, over which trec_eval's map is commonly computed.
RUN_DEPTH = 1000


def write_run_and_qrels(
    path: str | Path,
    query_ids: Sequence[str],
    pool_ids: Sequence[str],
    ranking: Iterable[tuple[int, list[str], np.ndarray]],
    judged: Judged,
    tag: str,
) -> None:
    """Write a run to `path` and its qrels to `path` + ".qrels".

    Args:
        path: the file, compressed as its suffix says (".gz", ".zst").
        query_ids: id of each query, see `distinct_ids`.
        pool_ids: id of each member of the pool.
        ranking: row of each query, ids of its hits, best first, and their scores, float32 (k,).
        judged: the relevants of each query.
        tag: the last field of each line of the run.
    """
    write_run(Path(path), ((query_ids[row], ids, scores) for row, ids, scores in ranking), tag)
    relevants, unfound = judged
    grades = relevants.grades if relevants.grades is not None else np.ones_like(relevants.rows)
    entries = [
        (row, pool_ids[place], grade)
        for row, place, grade in zip(relevants.query_rows, relevants.rows, grades, strict=True)
    ]
    entries += [
        (row, "_".join(each.split()), grade)
        for row, each, grade in zip(unfound.query_rows, unfound.ids, unfound.grades, strict=True)
    ]
    entries.sort(key=lambda entry: entry[0])
    write_qrels(Path(f"{path}.qrels"), ((query_ids[row], *rest) for row, *rest in entries))


def distinct_ids(members: Pool) -> list[str]:
    """Return an id for each member, prefixed with its language if ids repeat.

    Raises:
        ValueError: if an id contains white space, which separates the fields of a run, or occurs
            twice in a language.
    """
    ids = distinguish(members)
    if len(set(ids)) < len(ids):
        repeated, _ = Counter(ids).most_common(1)[0]
        raise ValueError(f"id {repeated!r} occurs more than once, which is ambiguous in a TREC run")
    check_run_ids(ids)
    return ids
