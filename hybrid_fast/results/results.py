"""The outcome of one evaluation: what was evaluated, on what, its scores, and their files.

The files are `results.json` and `per_query.npz`.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hybrid_fast.common.files import complete_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.results.fields import Field, Scores
from hybrid_fast.results.language_bias import LanguageBias
from hybrid_fast.results.metrics import REQUIRED_METRICS, SETTINGS, score_name
from hybrid_fast.results.per_query import PER_QUERY_FILE, PerQuery
from hybrid_fast.results.plain import plain

FILE_NAME = "results.json"


@dataclass(frozen=True)
class RunInfo:
    """The model of a run, and under which settings it was trained and used, in plain types.

    Whatever is given is turned into the types of JSON, see `plain`.

    Attributes:
        model: name of the model, or of what else gave the scores; None if unknown.
        kind: batch kind it was trained with, None if unknown.
        seed: seed it was trained with, None if unknown.
        settings: "candidate_text", "max_length", "prompts", "dtype", and what a caller adds.
    """

    model: str | None = None
    kind: str | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Turn all of it into plain types; TypeError for what no file can hold."""
        for name in ("model", "kind", "seed", "settings"):
            object.__setattr__(self, name, plain(getattr(self, name), name))
        for name in ("model", "kind"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name} is {getattr(self, name)!r}; give a name, or None")
        if not isinstance(self.settings, dict):
            raise TypeError(f"settings are {self.settings!r:.60}; give a mapping")

    def with_defaults(self, model: str | None = None, **settings: Any) -> RunInfo:
        """Return it with a name and settings where it has none; a setting of None is none."""
        known = {name: value for name, value in self.settings.items() if value is not None}
        return replace(
            self,
            model=model if self.model is None else self.model,
            settings={**settings, **known},
        )


@dataclass(frozen=True)
class Counts:
    """Queries and candidates by language, as `results.json` holds them under "counts".

    Attributes:
        queries: number of queries by language.
        candidates: number of candidates by language.
        pool: number of candidates of all languages.
        dropped: query language to corpus language to the number of queries that have no relevant
            there and are left out.
        other: what single tasks count besides: "segments"; "without_relevants", by language the
            queries that have no relevant anywhere; "left_out"; "without_prediction".
    """

    queries: dict[str, int]
    candidates: dict[str, int]
    pool: int | None
    dropped: dict[str, dict[str, int]]
    other: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the object in `results.json`."""
        return {
            "queries": dict(self.queries),
            "candidates": dict(self.candidates),
            "pool": self.pool,
            "dropped": {language: dict(row) for language, row in self.dropped.items()},
            **self.other,
        }

    @classmethod
    def read(cls, value: Field) -> Counts:
        """Return what "counts" holds; a number that is null there stays None."""
        content: dict[str, Any] = {
            "queries": value["queries"].numbers(largest=math.inf),
            "candidates": value["candidates"].numbers(largest=math.inf),
            "pool": value["pool"].number(largest=math.inf),
            "dropped": value["dropped"].table(largest=math.inf),
        }
        return cls(**content, other=value.other(content))


@dataclass(frozen=True)
class Results:
    """Scores of one model on one task.

    A score is None where there is nothing to average.

    Attributes:
        task: name of the task.
        info: the model, and how it was trained and used.
        versions: version of Python and of each library that scores depend on.
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

    def __post_init__(self) -> None:
        """Turn what callers may add into plain types."""
        object.__setattr__(self, "other", plain(self.other, "other"))

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
        folder = expanded(folder)
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        # The file by query is never beside the results of another run: it goes first, comes last.
        files = {"stale": [PER_QUERY_FILE], "order": [FILE_NAME, PER_QUERY_FILE]}
        with complete_folder(folder, **files) as staged:
            if self.per_query is not None:
                self.per_query.save(staged / PER_QUERY_FILE)
            (staged / FILE_NAME).write_text(content, encoding="utf-8")
        return folder / FILE_NAME


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
