"""Sampling weights: how often languages, pairs and sources are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

from hybrid_fast.common.choices import nearest
from hybrid_fast.data.languages import is_spelling_of, normalize_language
from hybrid_fast.data.plan_options import check_number

_MOST_NAMED, _MOST_NEAREST = 20, 3

LanguageSampling = str | float | Mapping[str, float]


def parse_language_sampling(
    sampling: LanguageSampling, languages: tuple[str, ...]
) -> tuple[float, list[float]]:
    """Return an exponent and weights by language, which are empty if the exponent applies.

    Raises:
        ValueError: an unknown name, or a language that the table does not have, or that is there in
            two spellings.
        TypeError: it is neither a name, a number nor weights, or a weight is not a number.
    """
    if isinstance(sampling, Mapping):
        spelt = _in_spelling_of_table("language_sampling", sampling, languages)
        return 0.0, named_weights("language_sampling", spelt, languages)
    named = {"uniform": 0.0, "proportional": 1.0}
    if isinstance(sampling, str):
        if sampling not in named:
            raise ValueError(
                f"language_sampling is {sampling!r}; it must be 'uniform', 'proportional', an "
                f"exponent or weights by language{nearest(sampling, named)}"
            )
        return named[sampling], []
    needed = "'uniform', 'proportional', an exponent or weights by language"
    return check_number("language_sampling", sampling, needed), []


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
                f"it has {_some(names)}{nearest(name, names)}"
            )
    given = {name: _weight(option, name, weight) for name, weight in weights.items()}
    return [given.get(name, 0.0) for name in names]


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
        ValueError: a pair that the table does not have, or that is there in two spellings.
        TypeError: a weight is not a number.
    """
    if weights is None:
        return []
    parsed = [0.0] * len(languages) ** 2
    pairs: dict[int, str] = {}
    for pair, weight in weights.items():
        number = _pair_number(pair, languages)
        _check_single("pair_weights", pairs.setdefault(number, pair), pair)
        parsed[number] = _weight("pair_weights", pair, weight)
    return parsed


def _in_spelling_of_table(
    option: str, weights: Mapping[str, float], languages: tuple[str, ...]
) -> dict[str, float]:
    """Return weights by language, named as the table spells them: de for deu.

    Raises:
        ValueError: two names are spellings of one language.
    """
    names: dict[str, str] = {}
    for name in weights:
        _check_single(option, names.setdefault(_spelt_as_in(languages, name) or name, name), name)
    return {spelt: weights[name] for spelt, name in names.items()}


def _spelt_as_in(languages: tuple[str, ...], code: str) -> str | None:
    """Return the language of a table that a code is a spelling of, None if there is none."""
    if code in languages:
        return code
    try:
        forms = normalize_language(code, keep_variants=True), normalize_language(code)
    except (TypeError, ValueError):
        return None
    return next((form for form in forms if form in languages), None)


def _check_single(option: str, first: str, second: str) -> None:
    if first != second:
        raise ValueError(
            f"{option} names {first!r} and {second!r}, which are one to the table; leave out one "
            "of them"
        )


def _weight(option: str, name: str, weight: object) -> float:
    try:
        return check_number(name, weight)
    except TypeError:
        raise TypeError(
            f"{option} gives {name!r} the weight {weight!r}; it must be a number"
        ) from None


def _pair_number(pair: str, languages: tuple[str, ...]) -> int:
    """Return query language * number of languages + passage language of "de-en".

    Codes may hold hyphens themselves: zh-Hant-en.
    """
    pieces = str(pair).split("-")
    cuts = [("-".join(pieces[:cut]), "-".join(pieces[cut:])) for cut in range(1, len(pieces))]
    found = [sides for sides in cuts if sides[0] in languages and sides[1] in languages]
    if not found:
        spelt = [(_spelt_as_in(languages, x), _spelt_as_in(languages, y)) for x, y in cuts]
        found = [(x, y) for x, y in spelt if x is not None and y is not None]
        found = found if len(found) == 1 else []  # en-de-fr: of German in France, or of French
    if found:
        return languages.index(found[0][0]) * len(languages) + languages.index(found[0][1])
    hint = _nearest_pairs(pair, languages)
    raise ValueError(
        f"pair_weights names {pair!r}, which the table does not have; a pair is a query language "
        f"and a passage language, as in 'de-en', of {_some(languages)}{hint}"
    )


def _nearest_pairs(pair: str, languages: tuple[str, ...]) -> str:
    """Return "; did you mean ...?" with the nearest few pairs, "" if there is none."""
    pieces = re.findall(r"\w+", str(pair).replace("_", "-"))
    found = [
        f"{x}-{y}"
        for cut in range(1, len(pieces))
        for x in _nearest_languages("-".join(pieces[:cut]), languages)
        for y in _nearest_languages("-".join(pieces[cut:]), languages)
    ]
    return f"; did you mean {' or '.join(map(repr, found[:_MOST_NEAREST]))}?" if found else ""


def _nearest_languages(code: str, languages: tuple[str, ...]) -> list[str]:
    same = [name for name in languages if is_spelling_of(code, name)]
    return same or get_close_matches(code, languages, n=2, cutoff=0.5)


def _some(names: tuple[str, ...]) -> str:
    """List names, the first of many."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
