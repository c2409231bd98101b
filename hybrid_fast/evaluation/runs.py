"""Rankings as files in TREC's form: a run, and the qrels that belong to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hybrid_fast.common.files import complete_file
from hybrid_fast.evaluation.tasks.texts import Pool

# What TREC's ad-hoc tracks take of a query, and trec_eval's map is commonly given over.
RUN_DEPTH = 1000


def write_run(
    path: Path, ranking: Iterable[tuple[str, list[str], np.ndarray]], tag: str = "hybrid_fast"
) -> None:
    """Write a run whose scores alone tell the order, as trec_eval and `evaluate_run` need it.

    Where candidates share a score, the later is written with the next lower float32: trec_eval
    would order equal scores by document id.

    Args:
        path: the file, gzipped if it ends in ".gz"; it appears completely or not at all.
        ranking: query id, ids of its candidates, best first, and their scores, float32 (k,).
        tag: the last field of each line; white space in it becomes "_".
    """
    tag = "_".join(tag.split()) or "run"
    with complete_file(path) as file:
        for query_id, ids, scores in ranking:
            texts = _strictly_falling(scores).astype(str)
            file.writelines(
                f"{query_id} Q0 {each} {rank} {score} {tag}\n"
                for rank, (each, score) in enumerate(zip(ids, texts, strict=True), 1)
            )


def write_qrels(path: Path, judgements: Iterable[tuple[str, str, int]]) -> None:
    """Write query id, document id and grade of each judgement; see `write_run` for the path."""
    with complete_file(path) as file:
        file.writelines(f"{query} 0 {document} {grade}\n" for query, document, grade in judgements)


def distinct_ids(members: Pool) -> list[str]:
    """Return an id for each member, with its language in front where ids repeat.

    Raises:
        ValueError: if one holds white space, which separates fields of a run, or is not distinct.
    """
    ids = list(members.ids)
    if len(set(ids)) < len(ids):
        languages = (members.languages[code] for code in members.language_codes)
        ids = [f"{language}:{each}" for language, each in zip(languages, ids, strict=True)]
    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        raise ValueError(f"id {twice!r} occurs more than once; a run cannot tell which is meant")
    bad = next((each for each in ids if len(each.split()) != 1), None)
    if bad is not None:
        raise ValueError(f"id {bad!r} is empty or holds white space; a run cannot hold it")
    return ids


def _strictly_falling(scores: np.ndarray) -> np.ndarray:
    """Return falling scores, float32 (k,), with ties resolved by steps of one float32 each."""
    if (np.diff(scores) < 0).all():
        return scores
    fallen = scores.copy()
    for place in range(1, len(fallen)):
        fallen[place] = min(fallen[place], np.nextafter(fallen[place - 1], np.float32(-np.inf)))
    return fallen
