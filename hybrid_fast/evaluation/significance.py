"""Whether runs differ by more than chance: paired bootstrap and paired randomisation.

Questions are drawn with all their translations, in all pools at once, since these are not
independent of one another. Scores are those of `metrics`: the mean over the queries of a cell, then
over cells.

    interval    percentile bootstrap of a score or of a difference (Sakai 2006; Efron 1979):
                questions are drawn with replacement, the same ones for all runs
    p           paired randomisation test (Smucker, Allan and Carterette 2007): the share of random
                exchanges of the two runs' values, question by question, whose difference is at
                least as large on either side, counting the one observed (Phipson and Smyth 2010)
    p_holm      p after Holm's (1979) step-down correction over a family of comparisons

scipy.stats.bootstrap and permutation_test know no statistic that is a mean of means of unequal
cells other than as a Python function of resampled arrays; here draws are counts of questions, and
all cells of all draws are one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np

from hybrid_fast.evaluation.metrics import mean_known, to_number
from hybrid_fast.results import Comparison, PerQuery
from hybrid_fast.results.comparison import (
    ComparisonSettings,
    Difference,
    Estimate,
    RunEstimate,
)

NUM_BOOTSTRAP, NUM_EXCHANGES = 1_000, 10_000
CONFIDENCE, LEVEL = 0.95, 0.05
# Draws are made in parts of about this many numbers.
_PART = 4_000_000


class Statistic(NamedTuple):
    """A mean of cells: a setting over all query languages (language None) or of one."""

    setting: str
    language: str | None
    cells: np.ndarray


@dataclass(frozen=True)
class QuestionSums:
    """Values of a metric summed by question and cell, a cell being query language and pool.

    Attributes:
        sums: float64 (num_questions, num_cells).
        counts: how many queries each sum holds, int64.
        statistics: what the cells are averaged to.
    """

    sums: np.ndarray
    counts: np.ndarray
    statistics: tuple[Statistic, ...]

    @classmethod
    def of(cls, run: PerQuery, metric: str) -> QuestionSums:
        """Sum a metric of a run; cells that have no query are left out.

        Raises:
            KeyError: if the run has no such metric.
        """
        scores = run.scores[metric]
        _, questions = np.unique(run.ids, return_inverse=True)
        code = {language: number for number, language in enumerate(run.languages)}
        languages = np.array([code[each] for each in run.query_languages.tolist()])
        num_pools = scores.shape[1]
        shape = (int(questions.max()) + 1, len(code) * num_pools)
        places = (questions * len(code) + languages)[:, None] * num_pools + np.arange(num_pools)
        known = ~np.isnan(scores)
        size = shape[0] * shape[1]
        sums = np.bincount(places[known], scores[known], size).reshape(shape)
        counts = np.bincount(places[known], minlength=size).reshape(shape)
        kept = np.flatnonzero(counts.any(axis=0))
        query_codes, pools = np.divmod(kept, num_pools)
        return cls(sums[:, kept], counts[:, kept], _statistics(run.languages, query_codes, pools))

    def scores(self, draws: np.ndarray | None = None) -> np.ndarray:
        """Return the statistics, one row for each draw of questions (their counts), float64."""
        draws = np.ones((1, len(self.sums))) if draws is None else draws
        totals, counts = draws @ self.sums, draws @ self.counts
        cells = np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)
        columns = [mean_known(cells[:, statistic.cells].T) for statistic in self.statistics]
        return np.stack(columns, axis=1)

    def contributions(self) -> np.ndarray:
        """Return what each question adds to each statistic, (num_questions, num_statistics)."""
        means = self.sums / self.counts.sum(axis=0)
        return np.stack([means[:, each.cells].mean(axis=1) for each in self.statistics], axis=1)

    def minus(self, other: QuestionSums) -> QuestionSums:
        """Return the sums of the differences, of runs on the same questions."""
        return QuestionSums(self.sums - other.sums, self.counts, self.statistics)


def _statistics(
    languages: Sequence[str], query_codes: np.ndarray, pools: np.ndarray
) -> tuple[Statistic, ...]:
    in_setting = {
        "mono": pools == query_codes,
        "cross": (pools != query_codes) & (pools < len(languages)),
        "multi": pools == len(languages),
    }
    of_language = {None: np.ones(len(pools), dtype=bool)} | {
        name: query_codes == code for code, name in enumerate(languages)
    }
    found = [
        Statistic(setting, name, np.flatnonzero(cells & own))
        for setting, cells in in_setting.items()
        for name, own in of_language.items()
    ]
    return tuple(statistic for statistic in found if statistic.cells.size)


def compare_runs(
    runs: Mapping[str, Sequence[PerQuery]],
    metrics: Sequence[str] = ("map", "rank_distance"),
    *,
    num_bootstrap: int = NUM_BOOTSTRAP,
    num_exchanges: int = NUM_EXCHANGES,
    seed: int = 0,
) -> Comparison:
    """Compare all pairs of runs, in every setting and for every query language.

    Args:
        runs: label to the scores by query of its runs; several of one label (the seeds of one
            recipe) are averaged query by query first.
        metrics: metrics of `PerQuery.scores`; rank_distance exists in the setting "multi" alone.
        num_bootstrap: draws of the bootstrap.
        num_exchanges: random exchanges of the randomisation test; p is at least 1 over one more.
        seed: of both.

    Returns:
        Scores of each run and differences of each pair, with intervals and p-values. Holm's
        families are all differences over all languages, and all of single languages.

    Raises:
        ValueError: if there are no runs, they are not of the same queries, or lack a metric.
    """
    if num_bootstrap < 1 or num_exchanges < 1:
        raise ValueError(
            f"num_bootstrap is {num_bootstrap} and num_exchanges {num_exchanges}; both must be at "
            "least 1"
        )
    _check_alike(runs, metrics)
    scores: list[RunEstimate] = []
    differences: list[Difference] = []
    for metric in metrics:
        sums = {label: _average(some, metric) for label, some in runs.items()}
        if not all(each.statistics for each in sums.values()):
            continue  # as the rank distance where no query has two relevants
        for label, each in sums.items():
            estimates = _estimate(metric, each, num_bootstrap, seed)
            scores += [RunEstimate(**vars(estimate), run=label) for estimate in estimates]
        for a, b in combinations(sums, 2):
            difference = sums[a].minus(sums[b])
            estimates = _estimate(metric, difference, num_bootstrap, seed)
            p_values = _randomise(difference, num_exchanges, seed).tolist()
            differences += [
                Difference(**vars(estimate), a=a, b=b, p=p, p_holm=p)
                for estimate, p in zip(estimates, p_values, strict=True)
            ]
    settings = ComparisonSettings(num_bootstrap, num_exchanges, seed, CONFIDENCE, LEVEL)
    return Comparison(tuple(scores), _correct(differences), settings)


def _correct(differences: Sequence[Difference]) -> tuple[Difference, ...]:
    """Return differences with p corrected over all languages, and over single languages."""
    corrected = np.empty(len(differences))
    is_overall = np.array([each.language is None for each in differences], dtype=bool)
    p_values = np.array([each.p for each in differences])
    for family in (is_overall, ~is_overall):
        corrected[family] = holm(p_values[family])
    return tuple(
        replace(each, p_holm=p) for each, p in zip(differences, corrected.tolist(), strict=True)
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values after Holm's step-down correction (1979), float64, in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def _check_alike(runs: Mapping[str, Sequence[PerQuery]], metrics: Sequence[str]) -> None:
    every = [(label, run) for label, some in runs.items() for run in some]
    if not every or not all(runs.values()):
        raise ValueError("there are no runs to compare; give at least one for each label")
    first_label, first = every[0]
    for label, run in every:
        missing = [metric for metric in metrics if metric not in run.scores]
        if missing:
            raise ValueError(
                f"run {label!r} has no scores by query of {', '.join(missing)}; it has "
                f"{', '.join(run.scores)}"
            )
        alike = (
            run.languages == first.languages
            and np.array_equal(run.ids, first.ids)
            and np.array_equal(run.query_languages, first.query_languages)
            and all(
                np.array_equal(np.isnan(run.scores[each]), np.isnan(first.scores[each]))
                for each in metrics
            )
        )
        if not alike:
            raise ValueError(
                f"runs {first_label!r} and {label!r} were not measured on the same queries and "
                "relevants, so they cannot be compared query by query"
            )


def _average(runs: Sequence[PerQuery], metric: str) -> QuestionSums:
    sums = [QuestionSums.of(run, metric) for run in runs]
    mean = np.mean([each.sums for each in sums], axis=0)
    return QuestionSums(mean, sums[0].counts, sums[0].statistics)


def _estimate(metric: str, sums: QuestionSums, num_bootstrap: int, seed: int) -> list[Estimate]:
    """Return each statistic with its interval."""
    draws = [
        sums.scores(_count_draws(rng, part, len(sums.sums)))
        for rng, part in _parts(num_bootstrap, len(sums.sums), seed)
    ]
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.nanquantile(np.concatenate(draws), tails, axis=0)
    observed = sums.scores()[0]
    return [
        Estimate(
            metric,
            statistic.setting,
            statistic.language,
            *map(to_number, (observed[row], low[row], high[row])),
        )
        for row, statistic in enumerate(sums.statistics)
    ]


def _count_draws(rng: np.random.Generator, num_draws: int, num_questions: int) -> np.ndarray:
    """Draw questions with replacement; return how often each was, (num_draws, num_questions)."""
    drawn = rng.integers(0, num_questions, (num_draws, num_questions))
    drawn += np.arange(num_draws)[:, None] * num_questions
    counts = np.bincount(drawn.ravel(), minlength=num_draws * num_questions)
    return counts.reshape(num_draws, num_questions).astype(np.float64)


def _randomise(difference: QuestionSums, num_exchanges: int, seed: int) -> np.ndarray:
    """Return the two-sided p-value of each statistic."""
    added = difference.contributions()
    observed = np.abs(added.sum(axis=0))
    # Exchanges that change nothing but the order of a sum are ties.
    threshold = observed - 1e-12 * np.abs(added).sum(axis=0)
    exceeded = np.zeros(len(observed), dtype=np.int64)
    for rng, part in _parts(num_exchanges, len(added), seed):
        signs = 2.0 * rng.integers(0, 2, (part, len(added)), dtype=np.int8) - 1.0
        exceeded += (np.abs(signs @ added) >= threshold).sum(axis=0)
    return (1 + exceeded) / (1 + num_exchanges)


def _parts(total: int, width: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Yield, until `total` rows are drawn, one generator and how many rows to draw from it next."""
    rng = np.random.default_rng(seed)
    size = max(1, _PART // width)
    for start in range(0, total, size):
        yield rng, min(size, total - start)
