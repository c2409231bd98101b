"""Scores of a TREC run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
