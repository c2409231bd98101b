"""Evaluation of a TREC run against relevance judgements, with scores equal to trec_eval's.

Order as in trec_eval: score descending, compared as float32; equal scores by document id descending
in code points. The ranks in the run's file are ignored. A document without a judgement is not
relevant.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.trec_runs import id_text, load_qrels, load_run
from hybrid_fast.evaluation.metrics import find_metrics, score_cells
from hybrid_fast.results import RunScores

logger = logging.getLogger(__name__)

RUN_METRICS = ("map", "ndcg@10", "mrr@100", "recall@100", "success@10")
Missing = Literal["zero", "leave-out"]


def evaluate_run(
    run: str | Path | Mapping[str, Mapping[str, float]],
    qrels: str | Path | Mapping[str, Mapping[str, float]],
    metrics: Iterable[str] = RUN_METRICS,
    *,
    missing: Missing = "zero",
    corpus: Collection[str] | None = None,
    exclude_self: bool = False,
) -> RunScores:
    """Evaluate a TREC run as trec_eval does.

    Args:
        run: a TREC file, or query id to document id to score.
        qrels: a file of TREC or BEIR, or query id to document id to grade, which may be fractional;
            a grade above 0 is relevant. Ids of mappings that are whole numbers become text.
        metrics: names of metrics, see `hybrid_fast.evaluation.metrics`; map_cut@k is trec_eval's
            map_cut, map@k divides by min(R, k).
        missing: how judged queries that the run lacks count: "zero", as in `trec_eval -c` and by
            the rule of Mr. TyDi, or "leave-out", as in trec_eval without -c.
        corpus: ids of all documents, if known; a document outside it is an error.
        exclude_self: leave the document out that has the query's own id, where queries are
            documents (ArguAna, Quora); BEIR does so.

    Raises:
        FileNotFoundError: if a file does not exist.
        TypeError: if run or qrels are neither files nor mappings, or an id is neither text nor a
            whole number.
        ValueError: if a file is malformed, a score is NaN, run or qrels name documents that are not
            in `corpus`, an argument is unknown, no query of the run is judged, or none is left to
            evaluate.
    """
    metrics = tuple(find_metrics(metrics))
    check_choice("missing", missing, ("zero", "leave-out"))
    run = load_run(run)
    qrels = load_qrels(qrels)
    if corpus is not None:
        _check_known(run, "run", corpus)
        _check_known(qrels, "qrels", corpus)
    if exclude_self:
        run = {
            query: {each: score for each, score in hits.items() if each != query}
            for query, hits in run.items()
        }
    relevants = {query: _relevants(grades) for query, grades in qrels.items()}
    answerable = [query for query, grades in relevants.items() if grades]
    absent = [query for query in answerable if query not in run]
    evaluated = answerable if missing == "zero" else [q for q in answerable if q in run]
    common = [query for query in run if query in qrels]
    if not evaluated or not common:
        raise ValueError(
            f"no query can be evaluated: of {len(qrels)} queries with judgements {len(answerable)} "
            f"have a relevant document, of which the run has {len(answerable) - len(absent)}; "
            f"the run has {_examples(run)}, the qrels have {_examples(qrels)}: are these the "
            "judgements of this run?"
        )
    _warn_of_other_documents(run, qrels, common)
    scores = _score(run, {query: relevants[query] for query in evaluated}, metrics)
    return RunScores(
        metrics={name: float(values.mean()) for name, values in scores.items()},
        per_query={
            query: {name: float(values[row]) for name, values in scores.items()}
            for row, query in enumerate(evaluated)
        },
        counts={
            "judged": len(qrels),
            "evaluated": len(evaluated),
            "missing": len(absent),
            "without_relevants": len(qrels) - len(answerable),
            "unjudged": sum(query not in qrels for query in run),
        },
    )


def _check_known(
    documents_by_query: Mapping[str, Collection[str]], name: str, corpus: Collection[str]
) -> None:
    known = frozenset(id_text(each, "the id of a document of the corpus") for each in corpus)
    unknown = sorted(
        {each for documents in documents_by_query.values() for each in documents} - known
    )
    if unknown:
        raise ValueError(
            f"{name}: {len(unknown)} documents are not among the {len(known)} of the corpus: "
            f"{', '.join(map(repr, unknown[:3]))}{' ...' if len(unknown) > 3 else ''}; "
            "are they from another version of it?"
        )


def _warn_of_other_documents(
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, float]],
    common: Sequence[str],
) -> None:
    """Warn if run and qrels have no document in common, which ids of two kinds are like."""
    hits = {document for query in common for document in run[query]}
    judged = {document for query in common for document in qrels[query]}
    if hits and not hits & judged:
        logger.warning(
            "no document of the run is judged: the run has %s, the qrels have %s",
            _examples(hits),
            _examples(judged),
        )


def _examples(ids: Collection[str]) -> str:
    return f"{', '.join(map(repr, sorted(ids)[:3]))}{' ...' if len(ids) > 3 else ''}"


def _relevants(grades: Mapping[str, float]) -> dict[str, float]:
    return {document: grade for document, grade in grades.items() if grade > 0}


def _score(
    run: Mapping[str, Mapping[str, float]],
    relevants: Mapping[str, Mapping[str, float]],
    metrics: tuple[str, ...],
) -> dict[str, np.ndarray]:
    """Return each metric by query, in the order of `relevants`."""
    ranks = [rank for query, some in relevants.items() for rank in _ranks(run.get(query, {}), some)]
    counts = [len(some) for some in relevants.values()]
    return score_cells(
        np.repeat(np.arange(len(relevants)), counts),
        np.array(ranks),
        np.array([grade for some in relevants.values() for grade in some.values()]),
        len(relevants),
        metrics,
    )


def _ranks(hits: Mapping[str, float], documents: Iterable[str]) -> list[float]:
    """Return the rank of each document among the hits of a query; infinite if it is not there."""
    ids = list(hits)
    with np.errstate(over="ignore"):  # what overflows becomes infinite, as in trec_eval
        scores = np.fromiter(hits.values(), np.float64, len(ids)).astype(np.float32)
    ranks = []
    for document in documents:
        if document not in hits:
            ranks.append(math.inf)
            continue
        with np.errstate(over="ignore"):
            own = np.float32(hits[document])
        ties = np.flatnonzero(scores == own)
        ranks.append(1.0 + np.count_nonzero(scores > own) + sum(ids[t] > document for t in ties))
    return ranks
