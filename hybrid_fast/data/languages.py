"""Language codes: whatever a data set calls a language becomes one BCP-47 code.

Known languages, scripts, regions and aliases between codes (eng -> en, iw -> he, cmn -> zh) are
those of Unicode CLDR, from the babel package.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache, lru_cache

from babel import Locale
from babel.core import get_global

_NOT_A_LANGUAGE = {"mul", "und", "zxx"}
_VARIANT = re.compile(r"[a-z0-9]{5,8}|[0-9][a-z0-9]{3}")  # RFC 5646, section 2.1


@lru_cache(maxsize=4096)
def normalize_language(code: str, keep_variants: bool = False) -> str:
    """Return the BCP-47 form of a language code: zh_cn -> zh, eng_Latn -> en.

    Args:
        code: a language subtag (two or three letters, any case), optionally followed by script,
            region and variants, separated by "-" or "_".
        keep_variants: keep script, region and variants, in canonical case: zh_hant_tw ->
            zh-Hant-TW.

    Raises:
        TypeError: if code is not text.
        ValueError: if the language or another subtag is unknown.
    """
    if not isinstance(code, str):
        raise TypeError(f"a language code must be text, got {code!r} ({type(code).__name__})")
    first, *rest = re.split("[-_]", code.strip())
    alias = get_global("language_aliases").get(first.lower(), first.lower())
    language, *implied = alias.split("_")
    if language not in _known_languages():
        raise ValueError(f"unknown language {code!r}; {_suggestion(first)}")
    subtags = [_canonical_subtag(subtag, code) for subtag in rest] or implied
    return "-".join([language, *subtags]) if keep_variants else language


def _canonical_subtag(subtag: str, code: str) -> str:
    """Return a script, region or variant in canonical case; ValueError if it is none of these."""
    english = Locale("en")
    if subtag.title() in english.scripts:
        return subtag.title()
    if subtag.upper() in english.territories:
        return subtag.upper()
    if _VARIANT.fullmatch(subtag.lower()):
        return subtag.lower()
    raise ValueError(
        f"{subtag!r} in the language code {code!r} is not a script, region or variant; "
        "codes look like 'en', 'zh-Hant' or 'pt-BR'"
    )


@cache
def _known_languages() -> dict[str, str]:
    """Return the English name of each language code."""
    names = Locale("en").languages.items()
    return {code: name for code, name in names if "_" not in code and code not in _NOT_A_LANGUAGE}


def _suggestion(code: str) -> str:
    """Name known languages whose code or English name is similar to the given code."""
    known = _known_languages()
    by_name = {name.lower(): code for code, name in known.items()}
    matches = [by_name[name] for name in get_close_matches(code.lower(), by_name, 1, 0.8)]
    matches += get_close_matches(code.lower(), known, 3, 0.6)
    if not matches:
        return "give a BCP-47 code such as 'en', 'zh' or 'sw'"
    named = [f"{match!r} ({known[match]})" for match in dict.fromkeys(matches)]
    return f"did you mean {' or '.join(named)}?"
