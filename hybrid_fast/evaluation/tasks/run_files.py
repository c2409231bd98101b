"""The ranking of a task's union pool as a TREC run, with the qrels that belong to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hybrid_fast.data.formats.trec_runs import write_qrels, write_run
from hybrid_fast.evaluation.ranks import Relevants
from hybrid_fast.retrieval.exact_search import Hits
from hybrid_fast.retrieval.texts import Pool

# The depth of TREC's ad-hoc tracks, over which trec_eval's map is commonly computed.
RUN_DEPTH = 1000


def write_run_and_qrels(
    path: str | Path,
    query_ids: Sequence[str],
    pool_ids: Sequence[str],
    tiles: Iterable[tuple[np.ndarray, Hits]],
    relevants: Relevants,
    tag: str,
) -> None:
    """Write a run to `path` and its qrels to `path` + ".qrels".

    Args:
        path: the file, gzipped if it ends in ".gz".
        query_ids: id of each query, see `distinct_ids`.
        pool_ids: id of each member of the pool.
        tiles: rows of queries and their hits, see `search_tiles`.
        relevants: positions in the pool of what answers each query.
        tag: the last field of each line of the run.
    """
    ranking = (
        (query_ids[row], [pool_ids[place] for place in places], scores)
        for rows, hits in tiles
        for row, places, scores in zip(rows, hits.rows, hits.scores, strict=True)
    )
    write_run(Path(path), ranking, tag)
    grades = relevants.grades if relevants.grades is not None else np.ones_like(relevants.rows)
    judged = zip(relevants.query_rows, relevants.rows, grades, strict=True)
    write_qrels(
        Path(f"{path}.qrels"),
        ((query_ids[row], pool_ids[place], grade) for row, place, grade in judged),
    )


def distinct_ids(members: Pool) -> list[str]:
    """Return an id for each member, prefixed with its language if ids repeat.

    Raises:
        ValueError: if an id contains white space, which separates the fields of a run, or occurs
            twice in a language.
    """
    ids = list(members.ids)
    if len(set(ids)) < len(ids):
        languages = (members.languages[code] for code in members.language_codes)
        ids = [f"{language}:{each}" for language, each in zip(languages, ids, strict=True)]
    if len(set(ids)) < len(ids):
        repeated, _ = Counter(ids).most_common(1)[0]
        raise ValueError(f"id {repeated!r} occurs more than once, which is ambiguous in a TREC run")
    bad = next((each for each in ids if len(each.split()) != 1), None)
    if bad is not None:
        raise ValueError(
            f"id {bad!r} is empty or contains white space, which separates the fields of a TREC run"
        )
    return ids
