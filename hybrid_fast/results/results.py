"""The outcome of one evaluation and its files, `results.json` and `per_query.npz`."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hybrid_fast.common.files import complete_folder
from hybrid_fast.results.counts import Counts
from hybrid_fast.results.fields import Field, Scores
from hybrid_fast.results.language_bias import LanguageBias
from hybrid_fast.results.metrics import REQUIRED_METRICS, SETTINGS, score_name
from hybrid_fast.results.per_query import PER_QUERY_FILE, PerQuery
from hybrid_fast.results.run_info import RunInfo

FILE_NAME = "results.json"


@dataclass(frozen=True)
class Results:
    """Scores of one model on one task.

    A score is None where there is nothing to average.

    Attributes:
        task: name of the task.
        info: the model, and how it was trained and used.
        versions: version of Python and of each library that takes part.
        metrics: setting ("mono", "cross", "multi") to metric to score.
        grid: metric to query language to corpus language, or "all", to score.
        language_bias: scores of language bias.
        counts: queries and candidates by language.
        per_query: scores of every query, kept in a file of its own; None if not known.
        other: further keys of a `results.json`, such as "date".
    """

    task: str
    info: RunInfo
    versions: dict[str, str]
    metrics: dict[str, Scores]
    grid: dict[str, dict[str, Scores]]
    language_bias: LanguageBias
    counts: Counts
    per_query: PerQuery | None = None
    other: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `results.json`, in plain types."""
        return deepcopy(
            {
                "task": self.task,
                "model": self.info.model,
                "kind": self.info.kind,
                "seed": self.info.seed,
                "versions": dict(self.versions),
                "settings": dict(self.info.settings),
                "metrics": self.metrics,
                "grid": self.grid,
                "language_bias": self.language_bias.to_dict(),
                "counts": self.counts.to_dict(),
                **self.other,
            }
        )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], name: str = "the run") -> Results:
        """Return what the content of a `results.json` says; the inverse of `to_dict`.

        null in place of an object is taken as one without scores, and unknown keys are kept.

        Args:
            content: the content.
            name: what errors call the run.

        Raises:
            ValueError: if a key is missing, or a score is no number or out of range.
        """
        run = Field(name, "", content)
        return cls(
            task=run["task"].required_text(),
            info=RunInfo(
                run["model"].text(),
                run["kind"].text(),
                run["seed"].value,
                run["settings"].object(),
            ),
            versions=dict(run["versions"].object()),
            metrics=_read_metrics(run["metrics"]),
            grid={
                "map": run["grid"]["map"].table(),
                **{metric: cells.table() for metric, cells in run["grid"].items().items()},
            },
            language_bias=LanguageBias.read(run["language_bias"]),
            counts=Counts.read(run["counts"]),
            other=run.other(_KEYS),
        )

    def score(self, setting: str, metric: str) -> float | None:
        """Return a score over all languages, None if there is none."""
        return self.metrics.get(setting, {}).get(metric)

    def cell(self, metric: str, query_language: str, pool: str) -> float | None:
        """Return a score of the grid, None if there is none; `pool` is a language or "all"."""
        return self.grid.get(metric, {}).get(query_language, {}).get(pool)

    def flat(self) -> dict[str, float]:
        """Return the scores that exist by one-word names, "mono_map" ... and "rank_distance"."""
        scores = {
            score_name(setting, metric): score
            for setting, by_metric in self.metrics.items()
            for metric, score in by_metric.items()
        }
        scores["rank_distance"] = self.language_bias.rank_distance.mean
        return {name: score for name, score in scores.items() if score is not None}

    def save(self, folder: str | Path) -> Path:
        """Write `results.json` and `per_query.npz` into a folder, which is made if need be.

        Each file appears completely or not at all, and the folder with both.

        Returns:
            The path of `results.json`.

        Raises:
            NotADirectoryError: if `folder` is a file.
        """
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        # The file by query is never beside the results of another run: it goes first, comes last.
        files = {"stale": [PER_QUERY_FILE], "order": [FILE_NAME, PER_QUERY_FILE]}
        with complete_folder(folder, **files) as staged:
            if self.per_query is not None:
                self.per_query.save(staged / PER_QUERY_FILE)
            (staged / FILE_NAME).write_text(content, encoding="utf-8")
        return Path(folder) / FILE_NAME


_KEYS = {
    "task",
    "model",
    "kind",
    "seed",
    "versions",
    "settings",
    "metrics",
    "grid",
    "language_bias",
    "counts",
}


def _read_metrics(metrics: Field) -> dict[str, Scores]:
    """Return "metrics" with all that it must hold, None for what is below null."""
    scores = metrics.table()
    for setting in SETTINGS:
        for metric in REQUIRED_METRICS:
            scores.setdefault(setting, {}).setdefault(metric, metrics[setting][metric].number())
    return scores


def library_versions() -> dict[str, str]:
    """Return the versions that scores depend on."""
    names = ("hybrid_fast", "torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
