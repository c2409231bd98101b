"""What evaluators of sentence-transformers report of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EvaluationRecord:
    """Keeps what a model's evaluators report, under the name of a model card; written nowhere.

    Attributes:
        base_model: what the model was loaded from.
        metrics: the last ones of each evaluator, by its name.
    """

    def __init__(self, base_model: str) -> None:
        self.base_model = base_model
        self.metrics: dict[str, dict[str, float]] = {}

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, float], epoch: int = 0, step: int = 0
    ) -> None:
        """Keep the metrics of an evaluator."""
        name = getattr(evaluator, "name", "") or type(evaluator).__name__
        self.metrics[name] = dict(metrics)
