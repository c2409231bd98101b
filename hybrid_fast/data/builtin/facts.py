"""Facts of Unicode CLDR, as the babel package ships it.

A fact links an entity (a territory, a language, a currency, a city) to an answer: a territory to
its currency, a language to its script. Source: https://cldr.unicode.org, supplemental data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from babel.core import get_global

from hybrid_fast.data.builtin.names import cldr_zone, join_names, names
from hybrid_fast.data.builtin.templates import LANGUAGES
from hybrid_fast.data.compat import locale_identifiers, stated_week

Answers = dict[str, list[str]]  # code of the entity -> codes of its answer

OFFICIAL = frozenset({"official", "de_facto_official"})
MOST_TERRITORIES = 4  # a longer list would not make a natural sentence
LEAST_SPEAKERS_PERCENT = 10
CONTESTED_CITIES = frozenset({"Asia/Jerusalem", "Europe/Simferopol"})


class Fact(NamedTuple):
    """One relation: the kinds of its entity and answer, and the function that finds the answers."""

    name: str
    entity_kind: str
    answer_kind: str
    find: Callable[[], Answers]


class Group(NamedTuple):
    """One fact about one entity: its id, and the texts of entity and answer by language."""

    group_id: str
    fact: str
    entity: dict[str, str]
    answer: dict[str, str]


def cldr_groups() -> list[Group]:
    """List every (entity, fact) that CLDR has in all our languages, in a fixed order."""
    groups = []
    for fact in FACTS:
        entities, answers = names(fact.entity_kind), names(fact.answer_kind)
        for code, found in sorted(fact.find().items()):
            if code in entities and found and all(answer in answers for answer in found):
                texts = {x: join_names([answers[a][x] for a in found], x) for x in LANGUAGES}
                group_id = f"{fact.entity_kind}:{code}/{fact.name}"
                groups.append(Group(group_id, fact.name, entities[code], texts))
    return groups


def _currencies() -> Answers:
    """Map each territory to the currencies that are legal tender today."""
    return {
        territory: [code for code, _, end, tender in history if end is None and tender]
        for territory, history in get_global("territory_currencies").items()
    }


def _official_languages() -> Answers:
    """Map each territory to its official languages, whatever their scripts (sr, sr_Latn)."""
    official = {
        territory: [
            code.split("_")[0]
            for code, use in languages.items()
            if use["official_status"] in OFFICIAL
        ]
        for territory, languages in get_global("territory_languages").items()
    }
    return {territory: list(dict.fromkeys(codes)) for territory, codes in official.items()}


def _first_weekdays() -> Answers:
    """Map each territory to the first day of its week, if CLDR states it."""
    days = {}
    for identifier in locale_identifiers():
        territory = identifier.rpartition("_")[2]
        if len(territory) == 2 and territory.isupper():
            week = stated_week(identifier)
            if "first_day" in week:
                days[territory] = [str(week["first_day"])]
    return days


def _territory_time_zones() -> Answers:
    """Map each territory with a single time zone to it."""
    of_city = _city_time_zones()
    found = {
        territory: {zone for city in cities for zone in of_city.get(city, [""])}
        for territory, cities in get_global("territory_zones").items()
    }
    return {territory: list(zones) for territory, zones in found.items() if len(zones) == 1}


def _living_languages() -> dict[str, tuple[str, str]]:
    """Map each language that is in use in its likely territory to its script and territory."""
    living = {}
    for code in locale_identifiers():
        if "_" not in code and code in get_global("likely_subtags"):
            _, script, territory = get_global("likely_subtags")[code].split("_")[:3]
            use = get_global("territory_languages").get(territory, {}).get(code)
            if use and (
                use["official_status"] or use["population_percent"] >= LEAST_SPEAKERS_PERCENT
            ):
                living[code] = (script, territory)
    return living


def _scripts() -> Answers:
    """Map each living language to its usual script."""
    return {code: [script] for code, (script, _) in _living_languages().items()}


def _spoken_in() -> Answers:
    """Map each living language to one territory where it is spoken."""
    return {code: [territory] for code, (_, territory) in _living_languages().items()}


def _used_in() -> Answers:
    """Map each currency to the territories where it is legal tender, if these are few."""
    users = defaultdict(list)
    for territory, currencies in sorted(_currencies().items()):
        for currency in currencies:
            users[currency].append(territory)
    return {code: where for code, where in users.items() if len(where) <= MOST_TERRITORIES}


def _decimals() -> Answers:
    """Map each current currency to its customary number of decimal places."""
    fractions = get_global("currency_fractions")
    today = {code for codes in _currencies().values() for code in codes}
    return {code: [str(fractions.get(code, fractions["DEFAULT"])[0])] for code in today}


def _countries() -> Answers:
    """Map each city of the time zone database to its territory."""
    territories = get_global("zone_territories")
    return {city: [territories[city]] for city in territories if city not in CONTESTED_CITIES}


def _city_time_zones() -> Answers:
    """Map each city of the time zone database to its time zone."""
    zones = get_global("meta_zones")
    cities = ((city, cldr_zone(city)) for city in get_global("zone_territories"))
    return {city: [zones[zone]] for city, zone in cities if zone in zones}


FACTS = (
    Fact("currency", "territory", "currency", _currencies),
    Fact("official_languages", "territory", "language", _official_languages),
    Fact("first_weekday", "territory", "weekday", _first_weekdays),
    Fact("time_zone", "territory", "time_zone", _territory_time_zones),
    Fact("script", "language", "script", _scripts),
    Fact("spoken_in", "language", "territory", _spoken_in),
    Fact("used_in", "currency", "territory", _used_in),
    Fact("decimals", "currency", "number", _decimals),
    Fact("country", "city", "territory", _countries),
    Fact("local_time", "city", "time_zone", _city_time_zones),
)
