"""Sampling weights: how often languages, pairs and sources are drawn."""

from __future__ import annotations

from collections.abc import Mapping

from hybrid_fast.common.choices import nearest

LanguageSampling = str | float | Mapping[str, float]


def parse_language_sampling(
    sampling: LanguageSampling, languages: tuple[str, ...]
) -> tuple[float, list[float]]:
    """Return an exponent and weights by language, which are empty if the exponent applies.

    Raises:
        ValueError: an unknown name, or a language that the table does not have.
        TypeError: it is neither a name, a number nor weights, or a weight is not a number.
    """
    if isinstance(sampling, Mapping):
        return 0.0, named_weights("language_sampling", sampling, languages)
    named = {"uniform": 0.0, "proportional": 1.0}
    if isinstance(sampling, str):
        if sampling not in named:
            raise ValueError(
                f"language_sampling is {sampling!r}; it must be 'uniform', 'proportional', an "
                f"exponent or weights by language{nearest(sampling, named)}"
            )
        return named[sampling], []
    if not isinstance(sampling, int | float):
        raise TypeError(
            f"language_sampling is {sampling!r}; it must be 'uniform', 'proportional', an exponent "
            "or weights by language"
        )
    return float(sampling), []


def named_weights(
    option: str, weights: Mapping[str, float] | None, names: tuple[str, ...]
) -> list[float]:
    """Return a weight for each name, 0 if none is given; empty without weights.

    Raises:
        ValueError: a name that the table does not have.
        TypeError: a weight is not a number.
    """
    if weights is None:
        return []
    for name in weights:
        if name not in names:
            raise ValueError(
                f"{option} names {name!r}, which the table does not have; "
                f"it has {', '.join(names)}{nearest(name, names)}"
            )
    for name, weight in weights.items():
        if not isinstance(weight, int | float):
            raise TypeError(f"{option} gives {name!r} the weight {weight!r}; it must be a number")
    return [float(weights.get(name, 0.0)) for name in names]


def parse_source_weights(
    weights: Mapping[str, float] | None, sources: tuple[str, ...]
) -> list[float]:
    """Return a weight for each source; empty without weights.

    Raises:
        ValueError: a source that the table does not have, or an index without sources.
        TypeError: a weight is not a number.
    """
    if weights is not None and not sources:
        raise ValueError(
            "source_weights need an index that tells sources apart; build it with "
            "PlanIndex.of_table(table, by_source=True) or from_arrays(..., sources=...)"
        )
    return named_weights("source_weights", weights, sources)


def parse_pair_weights(
    weights: Mapping[str, float] | None, languages: tuple[str, ...]
) -> list[float]:
    """Return weights by query language * number of languages + passage language.

    Raises:
        ValueError: a pair that the table does not have.
        TypeError: a weight is not a number.
    """
    if weights is None:
        return []
    pairs = tuple(f"{x}-{y}" for x in languages for y in languages)
    return named_weights("pair_weights", weights, pairs)
