"""Evaluation of a TREC run against relevance judgements, with scores equal to trec_eval's.

Order as in trec_eval: score descending, compared as float32; equal scores by document id descending
in code points. The ranks in the run's file are ignored. A document without a judgement is not
relevant.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hybrid_fast.data.formats.trec_runs import load_qrels, load_run
from hybrid_fast.evaluation.metrics import find_metrics, score_cells

RUN_METRICS = ("map", "ndcg@10", "mrr@100", "recall@100", "success@10")
Missing = Literal["zero", "leave-out"]


@dataclass(frozen=True)
class RunScores:
    """Scores of one TREC run.

    Attributes:
        metrics: metric to its mean over the queries of `per_query`.
        per_query: query id to metric to score, in the order of the judgements.
        counts: "judged": queries with judgements; "evaluated": those of `per_query`; "missing":
            queries with a relevant that the run lacks, which score 0 or are left out, as chosen;
            "without_relevants": judged queries without a relevant, left out; "unjudged": queries of
            the run without judgements, left out.
    """

    metrics: dict[str, float]
    per_query: dict[str, dict[str, float]]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in plain types."""
        return asdict(self)


def evaluate_run(
    run: str | Path | Mapping[str, Mapping[str, float]],
    qrels: str | Path | Mapping[str, Mapping[str, int]],
    metrics: Iterable[str] = RUN_METRICS,
    *,
    missing: Missing = "zero",
    corpus: Collection[str] | None = None,
) -> RunScores:
    """Evaluate a TREC run as trec_eval does.

    Args:
        run: a TREC file, or query id to document id to score.
        qrels: a TREC file, or query id to document id to grade; a grade above 0 is relevant.
        metrics: names of metrics, see `hybrid_fast.evaluation.metrics`; map_cut@k is trec_eval's
            map_cut, map@k divides by min(R, k).
        missing: how judged queries that the run lacks count: "zero", as in `trec_eval -c` and by
            the rule of Mr. TyDi, or "leave-out", as in trec_eval without -c.
        corpus: ids of all documents, if known; a document outside it is an error.

    Raises:
        FileNotFoundError: if a file does not exist.
        TypeError: if run or qrels are neither files nor mappings.
        ValueError: if a file is malformed, a score is NaN, run or qrels name documents that are not
            in `corpus`, an argument is unknown, or no query is left to evaluate.
    """
    metrics = tuple(find_metrics(metrics))
    if missing not in ("zero", "leave-out"):
        raise ValueError(f"missing is {missing!r}; it is 'zero' or 'leave-out'")
    run = load_run(run)
    qrels = load_qrels(qrels)
    if corpus is not None:
        _check_known(run, "run", corpus)
        _check_known(qrels, "qrels", corpus)
    relevants = {query: _relevants(grades) for query, grades in qrels.items()}
    answerable = [query for query, grades in relevants.items() if grades]
    absent = [query for query in answerable if query not in run]
    evaluated = answerable if missing == "zero" else [q for q in answerable if q in run]
    if not evaluated:
        raise ValueError(
            f"no query can be evaluated: of {len(qrels)} queries with judgements {len(answerable)} "
            f"have a relevant document, of which the run has {len(answerable) - len(absent)}; "
            "are these the judgements of this run?"
        )
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
    known = frozenset(corpus)
    unknown = sorted(
        {each for documents in documents_by_query.values() for each in documents} - known
    )
    if unknown:
        raise ValueError(
            f"{name}: {len(unknown)} documents are not among the {len(known)} of the corpus: "
            f"{', '.join(map(repr, unknown[:3]))}{' ...' if len(unknown) > 3 else ''}; "
            "are they from another version of it?"
        )


def _relevants(grades: Mapping[str, int]) -> dict[str, int]:
    return {document: grade for document, grade in grades.items() if grade > 0}


def _score(
    run: Mapping[str, Mapping[str, float]],
    relevants: Mapping[str, Mapping[str, int]],
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
