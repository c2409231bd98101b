"""The outcome of one evaluation and its file, `results.json`."""

from __future__ import annotations

import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILE_NAME = "results.json"


@dataclass(frozen=True)
class Results:
    """Figures of one model on one task; fields are the keys of `results.json`.

    Attributes:
        task: name of the task.
        model: name of the model, None if not told.
        kind: batch kind it was trained with, None if not told.
        seed: seed it was trained with, None if not told.
        versions: version of Python and of each library that takes part.
        settings: "candidate_text", "max_length", "prompts", "dtype", and what a caller adds.
        metrics: setting ("mono", "cross", "multi") to metric to figure.
        grid: metric to query language to corpus language, or "all", to figure.
        language_bias: rank distances, see `language_bias.summarise_rank_distances`.
        counts: "queries" and "candidates" by language, "pool", and "dropped": query language to
            corpus language to the number of queries left out, having no relevant there.

    A figure is None where there is nothing to average.
    """

    task: str
    model: str | None
    kind: str | None
    seed: int | None
    versions: dict[str, str]
    settings: dict[str, Any]
    metrics: dict[str, dict[str, float | None]]
    grid: dict[str, dict[str, dict[str, float | None]]]
    language_bias: dict[str, Any]
    counts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `results.json`, in plain types."""
        return asdict(self)

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
        """Write `results.json` into a folder, which is made if need be, completely or not at all.

        Returns:
            The path of the file.

        Raises:
            NotADirectoryError: if `folder` is a file.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{str(folder)!r} is a file; name a folder for {FILE_NAME}")
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = folder if folder.exists() else folder.parent
        with tempfile.TemporaryDirectory(prefix=".results-", dir=place) as temporary:
            staged = Path(temporary) / "folder"
            staged.mkdir()
            (staged / FILE_NAME).write_text(content, encoding="utf-8")
            if place == folder:
                (staged / FILE_NAME).replace(folder / FILE_NAME)
            else:
                staged.rename(folder)
        return folder / FILE_NAME


def library_versions() -> dict[str, str]:
    """Return the versions that figures depend on."""
    names = ("hybrid_fast", "torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
