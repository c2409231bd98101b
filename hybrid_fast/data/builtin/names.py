"""Names of territories, languages, currencies, scripts, weekdays, time zones and cities.

They are those of Unicode CLDR, as the babel package ships it. A code is used only if it has a name
in all our languages, so that nothing falls back to English.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from itertools import chain

from babel import Locale
from babel.core import get_global
from babel.lists import format_list

from hybrid_fast.data.builtin.templates import LANGUAGES, number_words

LATIN_LANGUAGES = frozenset({"de", "en", "es", "fr", "tr", "vi"})
NOT_SCRIPT_NAMES = frozenset({"Hans", "Hant", "Cans"})  # "Simplified", "UCAS": not names alone
NO_NAME = frozenset("[0123456789")  # notes and years: "[CFP] Franc", "Ruble (1991–1998)"


@cache
def names(kind: str) -> dict[str, dict[str, str]]:
    """Return code -> language -> name for all codes of a kind that have a name in every language.

    Args:
        kind: "territory", "language", "currency", "script", "weekday" ("0" is Monday), "time_zone"
            (a CLDR metazone), "city" (an id of the time zone database) or "number" ("0", "2", "3").
    """
    tables = {language: _TABLES[kind](language) for language in LANGUAGES}
    codes = set.intersection(*(set(table) for table in tables.values()))
    named = {code: {x: tables[x][code] for x in LANGUAGES} for code in codes}
    return {code: texts for code, texts in named.items() if _are_names(code, texts.values())}


def join_names(items: list[str], language: str) -> str:
    """Join names as the language does: "A, B and C"."""
    return items[0] if len(items) == 1 else format_list(items, locale=_locale(language))


@cache
def cldr_zone(city: str) -> str:
    """Return the id by which CLDR's locale data name a zone (Asia/Calcutta for Asia/Kolkata)."""
    stated = _locale("ar").time_zones
    old_ids = (old for old, new in get_global("zone_aliases").items() if new == city)
    return next((zone for zone in chain([city], old_ids) if zone in stated), city)


@cache
def _locale(language: str) -> Locale:
    return Locale.parse(language)


def _are_names(code: str, texts: Iterable[str]) -> bool:
    """Tell whether all texts are real names, without notes or years, and not the code itself."""
    return not any(NO_NAME & set(text) or f"({code})" in text for text in texts)


def _territories(language: str) -> dict[str, str]:
    """Name the territories in which a language is spoken: no unions or uninhabited islands."""
    territories = _locale(language).territories
    spoken = get_global("territory_languages")
    return {
        code: territories[code]
        for code in territories
        if len(code) == 2 and set(spoken.get(code, ())) - {"und"}
    }


def _scripts(language: str) -> dict[str, str]:
    scripts = _locale(language).scripts
    return {code: scripts[code] for code in scripts if code not in NOT_SCRIPT_NAMES}


def _time_zones(language: str) -> dict[str, str]:
    zones = _locale(language).meta_zones
    standard = {zone: zones[zone].get("long", {}).get("standard", "") for zone in zones}
    # CLDR's Russian names are either "Япония, стандартное время" or the bare place, "Индия".
    needed = "врем" if language == "ru" else ""
    return {zone: name for zone, name in standard.items() if name and needed in name.casefold()}


def _cities(language: str) -> dict[str, str]:
    """Name the cities of the time zone database, except homonyms of a city or territory.

    In languages of Latin script CLDR omits a city that is spelt as in its zone's id (Europe/Rome).
    """
    stated = _locale(language).time_zones
    taken = set(_territories(language).values())
    cities = {}
    for city in get_global("zone_territories"):
        name = stated.get(cldr_zone(city), {}).get("city")
        if not name and language in LATIN_LANGUAGES:
            name = city.rpartition("/")[2].replace("_", " ")
        if name and name not in taken:
            cities[city] = name
    uses = Counter(cities.values())
    return {city: name for city, name in cities.items() if uses[name] == 1}


_TABLES: dict[str, Callable[[str], Mapping[str, str]]] = {
    "territory": _territories,
    "language": lambda language: dict(_locale(language).languages.items()),
    "currency": lambda language: dict(_locale(language).currencies.items()),
    "script": _scripts,
    "time_zone": _time_zones,
    "city": _cities,
    "weekday": lambda language: {
        str(day): name for day, name in _locale(language).days["stand-alone"]["wide"].items()
    },
    "number": number_words,
}
