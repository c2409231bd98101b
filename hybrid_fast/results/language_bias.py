"""Scores of language bias, as `results.json` holds them under "language_bias".

How they are computed and what they mean: `hybrid_fast.evaluation.language_bias`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from hybrid_fast.results.fields import Field, Scores


@dataclass(frozen=True)
class RankDistance:
    """How far apart the relevants of a query rank in the pool of all languages.

    Attributes:
        mean: mean over the queries of a language, then over languages.
        median: median over the queries of a language, mean over languages.
        normalised: mean / size of the pool.
        by_language: mean by query language.
    """

    mean: float | None = None
    median: float | None = None
    normalised: float | None = None
    by_language: Scores = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return its keys of "language_bias"."""
        return {
            "rank_distance": self.mean,
            "rank_distance_median": self.median,
            "rank_distance_normalised": self.normalised,
            "by_language": dict(self.by_language),
        }

    @classmethod
    def read(cls, bias: Field) -> RankDistance:
        """Return what "language_bias" holds of it."""
        return cls(
            bias["rank_distance"].number(largest=math.inf),
            bias.get("rank_distance_median").number(largest=math.inf),
            bias.get("rank_distance_normalised").number(),
            bias["by_language"].numbers(largest=math.inf),
        )


@dataclass(frozen=True)
class BiasScore:
    """A measure of language bias from -1 to 1.

    Attributes:
        score: mean over languages.
        by_language: score by query language.
        counts: "queries" or "pairs" that it is a mean over, and how many were "left_out" or
            "undefined".
    """

    score: float | None = None
    by_language: Scores = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return its object in `results.json`."""
        return {"figure": self.score, "by_language": dict(self.by_language), **self.counts}

    @classmethod
    def read(cls, value: Field) -> BiasScore:
        """Return what an object of `results.json` holds, nothing for null."""
        return cls(
            value.get("figure").number(-1.0),
            value.get("by_language").numbers(-1.0),
            value.other({"figure", "by_language", "chance"}),
        )


@dataclass(frozen=True)
class RankingBias:
    """Language bias by whole rankings of the pool; empty where these are not known.

    Attributes:
        pool_share: language to its share of the pool.
        language_share: query language to language to its share of the first 20.
        language_share_gap: how far these are from the shares of the pool, from 0 to 1.
        query_language_preference: how often the first relevant has the language of the query.
        chance: the share of the relevants that have it, which is the unbiased preference.
        mrc: correlation of the rankings of a question's translations.
        mrc_20: the same over the first 20.
        peer: relevance level to the probability that languages are ranked alike.
    """

    pool_share: Scores = field(default_factory=dict)
    language_share: dict[str, Scores] = field(default_factory=dict)
    language_share_gap: float | None = None
    query_language_preference: BiasScore = field(default_factory=BiasScore)
    chance: float | None = None
    mrc: BiasScore = field(default_factory=BiasScore)
    mrc_20: BiasScore = field(default_factory=BiasScore)
    peer: dict[str, BiasScore] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return its keys of "language_bias", without those that are empty."""
        preference = self.query_language_preference.to_dict() | {"chance": self.chance}
        content = {
            "pool_share": dict(self.pool_share),
            "language_share@20": {query: dict(row) for query, row in self.language_share.items()},
            "language_share_gap@20": self.language_share_gap,
            "query_language_preference": preference,
            "mrc": self.mrc.to_dict(),
            "mrc@20": self.mrc_20.to_dict(),
            "peer@20": {level: score.to_dict() for level, score in self.peer.items()},
        }
        nothing: dict[str, Any] = BiasScore().to_dict()
        empty: tuple[Any, ...] = (None, {}, nothing, nothing | {"chance": None})
        return {key: value for key, value in content.items() if value not in empty}

    @classmethod
    def read(cls, bias: Field) -> RankingBias:
        """Return what "language_bias" holds of it."""
        return cls(
            bias.get("pool_share").numbers(),
            bias.get("language_share@20").table(),
            bias.get("language_share_gap@20").number(-1.0),
            BiasScore.read(bias.get("query_language_preference")),
            bias.get("query_language_preference").get("chance").number(-1.0),
            BiasScore.read(bias.get("mrc")),
            BiasScore.read(bias.get("mrc@20")),
            {
                level: BiasScore.read(score)
                for level, score in bias.get("peer@20").items().items()
                if score.value is not None
            },
        )


_KEYS = {
    "rank_distance",
    "rank_distance_median",
    "rank_distance_normalised",
    "by_language",
    "pool_share",
    "language_share@20",
    "language_share_gap@20",
    "query_language_preference",
    "mrc",
    "mrc@20",
    "peer@20",
}


@dataclass(frozen=True)
class LanguageBias:
    """All scores of language bias of a run.

    Attributes:
        rank_distance: computed from the ranks of relevants alone.
        rankings: computed from whole rankings.
        other: further keys of "language_bias".
    """

    rank_distance: RankDistance = field(default_factory=RankDistance)
    rankings: RankingBias = field(default_factory=RankingBias)
    other: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the object in `results.json`."""
        return {**self.rank_distance.to_dict(), **self.rankings.to_dict(), **self.other}

    @classmethod
    def read(cls, value: Field) -> LanguageBias:
        """Return what "language_bias" holds."""
        return cls(RankDistance.read(value), RankingBias.read(value), value.other(_KEYS))
