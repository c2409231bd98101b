"""The outcome of one evaluation and its files, `results.json` and `per_query.npz`."""

from __future__ import annotations

import json
import platform
import zipfile
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_fast.common.files import complete_folder
from hybrid_fast.results.run_info import RunInfo

FILE_NAME = "results.json"
PER_QUERY_FILE = "per_query.npz"


@dataclass(frozen=True, eq=False)
class PerQuery:
    """Figures of every query of a task, which comparisons of runs are made of.

    Attributes:
        ids: id of each query, equal for translations, (num_queries,) of text.
        query_languages: its language code, (num_queries,) of text.
        languages: languages of the pools, the first columns of figures; the last is the union pool.
        figures: metric to float64 (num_queries, num_languages + 1), NaN where there is none; and
            "rank_distance", of the union pool alone.
    """

    ids: np.ndarray
    query_languages: np.ndarray
    languages: tuple[str, ...]
    figures: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Write all of it to a compressed .npz file."""
        arrays = {
            "ids": self.ids,
            "query_languages": self.query_languages,
            "languages": np.array(self.languages),
            "metrics": np.array(list(self.figures)),
            **{f"figure_{number}": each for number, each in enumerate(self.figures.values())},
        }
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> PerQuery:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is none that `save` wrote.
        """
        try:
            with np.load(path, allow_pickle=False) as content:
                names = content["metrics"].tolist()
                return cls(
                    content["ids"],
                    content["query_languages"],
                    tuple(content["languages"].tolist()),
                    {name: content[f"figure_{number}"] for number, name in enumerate(names)},
                )
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} holds no figures by query ({error}); evaluate the model again"
            ) from error


@dataclass(frozen=True)
class Results:
    """Figures of one model on one task, as `results.json` holds them.

    Attributes:
        task: name of the task.
        info: the model, and how it was trained and used.
        versions: version of Python and of each library that takes part.
        metrics: setting ("mono", "cross", "multi") to metric to figure.
        grid: metric to query language to corpus language, or "all", to figure.
        language_bias: see `language_bias.summarise_rank_distances` and `summarise_rankings`.
        counts: "queries" and "candidates" by language, "pool", and "dropped": query language to
            corpus language to the number of queries left out, having no relevant there; of most
            tasks "without_relevants": query language to the number that have none anywhere.
        per_query: figures of every query, kept in a file of its own; None if not known.

    A figure is None where there is nothing to average.
    """

    task: str
    info: RunInfo
    versions: dict[str, str]
    metrics: dict[str, dict[str, float | None]]
    grid: dict[str, dict[str, dict[str, float | None]]]
    language_bias: dict[str, Any]
    counts: dict[str, Any]
    per_query: PerQuery | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `results.json`, in plain types."""
        return {
            "task": self.task,
            "model": self.info.model,
            "kind": self.info.kind,
            "seed": self.info.seed,
            "versions": dict(self.versions),
            "settings": dict(self.info.settings),
            "metrics": deepcopy(self.metrics),
            "grid": deepcopy(self.grid),
            "language_bias": deepcopy(self.language_bias),
            "counts": deepcopy(self.counts),
        }

    def flat(self) -> dict[str, float]:
        """Return the figures that exist by one-word names, "mono_map" ... and "rank_distance"."""
        figures = {
            f"{setting}_{metric}": figure
            for setting, by_metric in self.metrics.items()
            for metric, figure in by_metric.items()
        }
        figures["rank_distance"] = self.language_bias["rank_distance"]
        return {name: figure for name, figure in figures.items() if figure is not None}

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


def library_versions() -> dict[str, str]:
    """Return the versions that figures depend on."""
    names = ("hybrid_fast", "torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
