"""MRC: mean correlation of the rankings that translations of one question get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hybrid_fast.evaluation.metrics import mean_known, to_number
from hybrid_fast.results import BiasScore
from hybrid_fast.retrieval.shared_work import SharedWork


@dataclass
class PairCorrelations:
    """Sums of correlations between queries of two languages.

    Attributes:
        sums: float64 (num_languages, num_languages), symmetric.
        counts: how many correlations each sum holds.
        num_undefined: correlations left out, a ranking being one single tie.
    """

    sums: np.ndarray
    counts: np.ndarray
    num_undefined: int = 0

    def add(self, x: np.ndarray, y: np.ndarray, correlations: np.ndarray) -> None:
        """Add correlations between queries of the language codes x and y, NaN if undefined."""
        known = ~np.isnan(correlations)
        for one, other in ((x[known], y[known]), (y[known], x[known])):
            np.add.at(self.sums, (one, other), correlations[known])
            np.add.at(self.counts, (one, other), 1)
        self.num_undefined += int(np.count_nonzero(~known))

    def combine(self, shared: SharedWork) -> None:
        """Add the sums of other ranks, in rank order, so that all get the same bits."""
        self.sums = np.sum(shared.gather(self.sums), axis=0)
        self.counts = np.sum(shared.gather(self.counts), axis=0)
        self.num_undefined = int(np.sum(shared.gather(np.array([self.num_undefined]))))

    def summary(self, languages: Sequence[str]) -> BiasScore:
        """Return the mean over pairs of languages, also by language, and what was counted."""
        means = np.divide(
            self.sums, self.counts, out=np.full(self.sums.shape, np.nan), where=self.counts > 0
        )
        by_language = mean_known(means)
        return BiasScore(
            to_number(mean_known(means[np.triu_indices(len(means), 1)])),
            {
                name: to_number(by_language[code])
                for code, name in enumerate(languages)
                if self.counts[code].any()
            },
            {"pairs": int(self.counts.sum()) // 2, "undefined": self.num_undefined},
        )


def correlate_rankings(ranks: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of all pairs of rows of mean ranks; NaN for constant rows."""
    centred = ranks.astype(np.float64) - (ranks.shape[1] + 1) / 2
    products = centred @ centred.T
    norms = np.sqrt(np.diag(products))
    scale = np.outer(norms, norms)
    return np.divide(products, scale, out=np.full(scale.shape, np.nan), where=scale > 0)


def correlate_first(
    ranks: np.ndarray, first: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Return Spearman's correlation of rows a[i] and b[i] over the union of their first columns."""
    columns = np.hstack([first[a], first[b]])
    num_first = first.shape[1]
    repeated = np.zeros(columns.shape, dtype=bool)
    repeated[:, num_first:] = (first[b][:, :, None] == first[a][:, None, :]).any(axis=2)
    sizes = columns.shape[1] - repeated.sum(axis=1)
    centred = []
    for row in (a, b):
        # Repeated columns go last, where they change no other rank, and are then taken out.
        own = np.where(repeated, np.inf, ranks[row[:, None], columns])
        centred.append(
            np.where(repeated, 0, stats.rankdata(own, axis=1) - (sizes[:, None] + 1) / 2)
        )
    covariance = (centred[0] * centred[1]).sum(axis=1)
    scale = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    return np.divide(covariance, scale, out=np.full(len(a), np.nan), where=scale > 0)
