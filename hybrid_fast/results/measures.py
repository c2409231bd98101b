"""Measures: which scores of a run are shown, what they are called, and which direction is good."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hybrid_fast.results.language_bias import BiasScore, RankingBias
from hybrid_fast.results.metrics import REQUIRED_METRICS, SETTINGS, metric_title, score_name
from hybrid_fast.results.results import Results


def _no_score(results: Results, language: str) -> float | None:
    return None


@dataclass(frozen=True)
class Measure:
    """A score of a run: its name, how it is read and printed, and which direction is good.

    Attributes:
        name: one word, as in `Results.flat`.
        title: what people read.
        read: returns the score of results, None if they have none.
        read_language: returns the score of the queries of a language.
        higher_is_better: None where neither direction is good.
        is_fraction: whether it is a fraction, at most 1; else it counts ranks.
        meaning: one line for readers who do not know the measure.
    """

    name: str
    title: str
    read: Callable[[Results], float | None]
    read_language: Callable[[Results, str], float | None] = _no_score
    higher_is_better: bool | None = True
    is_fraction: bool = True
    meaning: str = ""

    def show(self, value: float | None, missing: str = "-") -> str:
        """Return the score as it is printed: a fraction with three decimals, or a rank."""
        if value is None:
            return missing
        if self.is_fraction:
            return f"{value:.3f}"
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"

    def show_spread(self, values: Sequence[float | None], missing: str = "-") -> str:
        """Return the mean of scores, with their sample standard deviation if there are several."""
        known = [value for value in values if value is not None]
        if len(known) < 2:
            return self.show(known[0] if known else None, missing)
        return f"{self.show(statistics.mean(known))} ± {self.show(statistics.stdev(known))}"

    def show_signed(self, value: float | None, missing: str = "-") -> str:
        """Return a difference of scores as it is printed, with its sign."""
        if value is None:
            return missing
        return f"{value:+.3f}" if self.is_fraction else f"{value:+,.1f}"

    def best_positions(self, values: Sequence[float | None]) -> set[int]:
        """Return the positions of the best score as printed; none if all print alike."""
        present = [value for value in values if value is not None]
        if not present or self.higher_is_better is None:
            return set()
        best = self.show(max(present) if self.higher_is_better else min(present))
        if all(self.show(value) == best for value in present):
            return set()
        return {position for position, value in enumerate(values) if self.show(value) == best}


def metric_measure(setting: str, metric: str, title: str | None = None) -> Measure:
    """Return the measure of a metric in a setting; `title` is that of the metric by default."""
    return Measure(
        score_name(setting, metric),
        title or metric_title(metric),
        lambda results: results.score(setting, metric),
    )


def metric_measures(runs: Sequence[Results]) -> dict[str, list[Measure]]:
    """Return the measures of the metrics that any run has, by setting."""
    settings = dict.fromkeys([*SETTINGS, *(setting for run in runs for setting in run.metrics)])
    return {
        setting: [
            metric_measure(setting, metric)
            for metric in dict.fromkeys(
                metric for run in runs for metric in run.metrics.get(setting, {})
            )
        ]
        for setting in settings
    }


def _mono_map(results: Results, language: str) -> float | None:
    return results.cell("map", language, language)


def _cross_map(results: Results, language: str) -> float | None:
    """Return the mean over the other corpus languages."""
    row = results.grid.get("map", {}).get(language, {})
    across = [value for corpus, value in row.items() if corpus not in (language, "all")]
    known = [value for value in across if value is not None]
    return sum(known) / len(known) if known else None


def _multi_map(results: Results, language: str) -> float | None:
    return results.cell("map", language, "all")


RANK_DISTANCE = Measure(
    "rank_distance",
    "rank distance",
    lambda results: results.language_bias.rank_distance.mean,
    lambda results, language: results.language_bias.rank_distance.by_language.get(language),
    higher_is_better=False,
    is_fraction=False,
)
# The first table of every report, over all languages and by query language.
HEADLINE = (
    *(
        Measure(
            score_name(setting, "map"),
            f"{setting} {metric_title('map')}",
            metric_measure(setting, "map").read,
            by_language,
        )
        for setting, by_language in zip(SETTINGS, (_mono_map, _cross_map, _multi_map), strict=True)
    ),
    RANK_DISTANCE,
)
MEASURES = (
    *(
        metric_measure(setting, metric, f"{setting} {metric_title(metric)}")
        for setting in SETTINGS
        for metric in REQUIRED_METRICS
    ),
    RANK_DISTANCE,
)
RANK_DISTANCES = (
    replace(RANK_DISTANCE, title="mean"),
    Measure(
        "rank_distance_median",
        "median",
        lambda results: results.language_bias.rank_distance.median,
        higher_is_better=False,
        is_fraction=False,
    ),
    Measure(
        "rank_distance_normalised",
        "share of pool",
        lambda results: results.language_bias.rank_distance.normalised,
        higher_is_better=False,
    ),
)


def _bias_measure(
    name: str,
    title: str,
    find: Callable[[RankingBias], BiasScore],
    meaning: str,
    higher_is_better: bool | None = True,
) -> Measure:
    return Measure(
        name,
        title,
        lambda results: find(results.language_bias.rankings).score,
        lambda results, language: find(results.language_bias.rankings).by_language.get(language),
        higher_is_better,
        meaning=meaning,
    )


BIAS_MEASURES = (
    Measure(
        "language_share_gap@20",
        "language share gap@20",
        lambda results: results.language_bias.rankings.language_share_gap,
        higher_is_better=False,
        meaning="how far the languages of the first 20 differ from those of the pool; 0 if alike, "
        "lower is better",
    ),
    _bias_measure(
        "query_language_preference",
        "own language first",
        lambda rankings: rankings.query_language_preference,
        "how often the first correct answer is in the language of the query; a model without bias "
        "reaches the chance below",
        higher_is_better=None,
    ),
    Measure(
        "query_language_preference_chance",
        "own language first, chance",
        lambda results: results.language_bias.rankings.chance,
        higher_is_better=None,
        meaning="the share of correct answers that are in the language of the query",
    ),
    _bias_measure(
        "mrc",
        "MRC",
        lambda rankings: rankings.mrc,
        "correlation of the rankings of a question's translations, -1 to 1, higher is better",
    ),
    _bias_measure(
        "mrc@20",
        "MRC@20",
        lambda rankings: rankings.mrc_20,
        "the same over the first 20 of either, -1 to 1, higher is better",
    ),
)


def bias_measures(runs: Sequence[Results]) -> list[Measure]:
    """Return the measures of bias from whole rankings: the fixed ones, and PEER by level."""
    levels = dict.fromkeys(level for run in runs for level in run.language_bias.rankings.peer)
    return [*BIAS_MEASURES, *map(_peer_measure, levels)]


def _peer_measure(level: str) -> Measure:
    return _bias_measure(
        f"peer@20 {level}",
        f"PEER@20, {level}",
        lambda rankings: rankings.peer.get(level, BiasScore()),
        "whether texts of this relevance rank alike in all languages, 0 to 1, higher is better",
    )
