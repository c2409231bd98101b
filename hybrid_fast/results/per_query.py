"""Scores of every query of a run and their file, `per_query.npz`.

Its arrays are "ids", "query_languages", "languages", "metrics", and the scores by each metric,
"figure_0", "figure_1" and so on.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hybrid_fast.common.paths import expanded

PER_QUERY_FILE = "per_query.npz"


@dataclass(frozen=True, eq=False)
class PerQuery:
    """Scores of every query of a task; runs are compared by them.

    Attributes:
        ids: id of each query, equal for translations, (num_queries,) of text.
        query_languages: its language code, (num_queries,) of text.
        languages: languages of the pools, the first columns of scores; the last is the pool of all.
        scores: metric to float64 (num_queries, num_languages + 1), NaN where there is none; and
            "rank_distance", of the pool of all alone.
    """

    ids: np.ndarray
    query_languages: np.ndarray
    languages: tuple[str, ...]
    scores: dict[str, np.ndarray]

    def save(self, path: str | Path) -> None:
        """Write all of it to a compressed .npz file."""
        path = expanded(path)
        arrays = {
            "ids": self.ids,
            "query_languages": self.query_languages,
            "languages": np.array(self.languages),
            "metrics": np.array(list(self.scores)),
            **{f"figure_{number}": each for number, each in enumerate(self.scores.values())},
        }
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> PerQuery:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if `save` did not write it.
        """
        path = expanded(path)
        try:
            with np.load(path, allow_pickle=False) as content:
                metrics = content["metrics"].tolist()
                return cls(
                    content["ids"],
                    content["query_languages"],
                    tuple(content["languages"].tolist()),
                    {name: content[f"figure_{number}"] for number, name in enumerate(metrics)},
                )
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} holds no scores by query ({error}); evaluate the model again"
            ) from error
