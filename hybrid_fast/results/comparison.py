"""Whether runs differ by more than chance, as the `results.json` of a comparison holds it.

How it is computed: `hybrid_fast.evaluation.significance`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hybrid_fast.results.metrics import score_name


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, with its confidence interval.

    Attributes:
        metric: name of the metric.
        setting: "mono", "cross" or "multi".
        language: language of the queries, None for all.
        score: the score.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    metric: str
    setting: str
    language: str | None
    score: float | None
    low: float | None
    high: float | None

    @property
    def name(self) -> str:
        """The name of its measure, as in `Results.flat`."""
        return score_name(self.setting, self.metric)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that it adds to an object in `results.json`."""
        return {
            "metric": self.metric,
            "setting": self.setting,
            "language": self.language,
            "figure": self.score,
            "low": self.low,
            "high": self.high,
        }


@dataclass(frozen=True)
class RunEstimate(Estimate):
    """A score of a run.

    Attributes:
        run: label of the run.
    """

    run: str

    def to_dict(self) -> dict[str, Any]:
        """Return the object in `results.json`."""
        return {"run": self.run, **super().to_dict()}


@dataclass(frozen=True)
class Difference(Estimate):
    """A score of run a minus that of run b.

    Attributes:
        a: label of a run.
        b: label of the run that is subtracted.
        p: two-sided p-value.
        p_holm: p after Holm's correction.
    """

    a: str
    b: str
    p: float
    p_holm: float

    def to_dict(self) -> dict[str, Any]:
        """Return the object in `results.json`."""
        return {
            "a": self.a,
            "b": self.b,
            **super().to_dict(),
            "p": self.p,
            "p_holm": self.p_holm,
        }

    def better(self, higher_is_better: bool | None, level: float) -> str | None:
        """Return the label of the run that is significantly better; None if neither is."""
        if self.p_holm >= level or self.score is None or higher_is_better is None:
            return None
        return self.a if (self.score > 0) == higher_is_better else self.b


@dataclass(frozen=True)
class ComparisonSettings:
    """How a comparison was made.

    Attributes:
        num_bootstrap: draws of the bootstrap.
        num_exchanges: random exchanges of the randomisation test.
        seed: of both.
        confidence: share of the draws that an interval holds.
        level: p-values below it are significant.
    """

    num_bootstrap: int
    num_exchanges: int
    seed: int
    confidence: float
    level: float


@dataclass(frozen=True)
class Comparison:
    """All pairs of runs compared in every setting and for every query language.

    Attributes:
        scores: the scores of each run with their intervals.
        differences: the differences of each pair of runs.
        settings: how it was made.
    """

    scores: tuple[RunEstimate, ...]
    differences: tuple[Difference, ...]
    settings: ComparisonSettings

    def of(self, name: str, language: str | None = None) -> list[Difference]:
        """Return the differences of all pairs in the measure of a name.

        `language` is that of the queries, None for the scores over all.
        """
        return [
            difference
            for difference in self.differences
            if (difference.name, difference.language) == (name, language)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return "comparison" of `results.json`."""
        return {
            "figures": [score.to_dict() for score in self.scores],
            "differences": [difference.to_dict() for difference in self.differences],
            "settings": asdict(self.settings),
        }
