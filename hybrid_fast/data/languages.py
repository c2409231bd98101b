"""Language codes: whatever a data set calls a language becomes one BCP-47 code.

Languages are those of ISO 639 (python-iso639) and CLDR (babel), which also knows scripts, regions
and which languages are varieties of another (cmn of zh, pes of fa).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from babel import Locale
from babel.core import get_global

if TYPE_CHECKING:
    import iso639

logger = logging.getLogger(__name__)

# The codes that became each language, as they were given, with the number of their rows.
LanguageCodes = Mapping[str, Mapping[str, int]]

_NOT_A_LANGUAGE = {"mul", "und", "zxx", "mis", "root"}
_VARIANT = re.compile(r"[a-z0-9]{5,8}|[0-9][a-z0-9]{3}")  # RFC 5646, section 2.1
_PRIVATE = re.compile(r"[a-z0-9]{1,8}")
# The groups of languages of ISO 639-2, which ISO 639-3 leaves out and data sets use: "ber".
_GROUPS = frozenset(
    "afa alg apa art ath aus bad bai bat ber bih bnt btk cai cau cel cmc cpe cpf cpp crp cus day "
    "dra fiu gem him ijo inc ine ira iro kar khi kro map mkh mno mun myn nah nai nic nub oto paa "
    "phi pra roa sai sal sem sgn sio sit sla smi son ssa tai tup tut wak wen ypk znd".split()
)
_MOST_NAMED = 8


@lru_cache(maxsize=4096)
def normalize_language(code: str, keep_variants: bool = False) -> str:
    """Return the BCP-47 form of a language code: zh_cn -> zh, eng_Latn -> en.

    Args:
        code: a language of ISO 639 (two or three letters, any case), optionally followed by script,
            region, variants and private subtags ("x-..."), separated by "-" or "_".
        keep_variants: keep apart what codes keep apart: script, region and variants, in canonical
            case (zh_hant_tw -> zh-Hant-TW), and varieties with a code of their own (cmn -> cmn).
            Otherwise the latter become the language that CLDR counts them to: cmn -> zh.

    Raises:
        TypeError: if code is not text.
        ValueError: if the language or another subtag is unknown.
    """
    if not isinstance(code, str):
        raise TypeError(f"a language code must be text, got {code!r} ({type(code).__name__})")
    first, *rest = re.split("[-_]", code.strip())
    language, *implied = _own_language(first.lower(), code).split("_")
    if rest and _is_extended(language, rest[0].lower()):  # zh-yue
        language, rest = rest[0].lower(), rest[1:]
    subtags = _canonical_subtags(rest, code) or implied
    if keep_variants:
        return "-".join([language, *subtags])
    return _broad_language(language)


@lru_cache(maxsize=4096)
def normalize_if_known(code: str) -> str:
    """Return the normalised code of a language, a code of no known language as it is."""
    try:
        return normalize_language(code)
    except ValueError:
        return code


def codes_meant(code: str, known: Collection[str]) -> list[str]:
    """Return the codes of some data that a code stands for: itself, or those of its language.

    Of "de" and "zh", "zho_Hant" stands for "zh"; of "zho_Hans" and "zho_Hant", "zh" for both.

    Raises:
        TypeError: if code is not text.
    """
    if code in known:
        return [code]
    language = normalize_if_known(code)
    return [each for each in known if normalize_if_known(each) == language]


def is_same_language(first: str, second: str) -> bool:
    """Tell whether two codes are the same but for their spelling: deu, de-Latn, de."""
    return common_spelling(first) == common_spelling(second)


@lru_cache(maxsize=4096)
def common_spelling(code: str) -> str:
    """Return what the spellings of a language have in common: de for deu, de-Latn and de.

    Raises as `normalize_language`.
    """
    return _without_usual_script(normalize_language(code, keep_variants=True))


def warn_of_merged_languages(
    origin: str,
    codes: LanguageCodes,
    *,
    unit: str = "rows",
    remedy: str = "keep_variants=True keeps them apart",
    alike: bool = False,
) -> None:
    """Log, in one line, which languages stand for several codes that were not the same.

    Args:
        origin: what was read, for the message.
        codes: the codes that became each language.
        unit: what is counted.
        remedy: how they are kept apart, for the message.
        alike: a code with the usual script of its language is the same as one without it, as in
            data of different origin: deu-Latn, de.
    """
    merged = {name: _distinct(counts, alike) for name, counts in sorted(codes.items())}
    merged = {name: different for name, different in merged.items() if len(different) > 1}
    if not merged:
        return
    named = [
        " and ".join(f"{code!r} ({codes[name][code]:,} {unit})" for code in different)
        + f" are now {name!r}"
        for name, different in list(merged.items())[:_MOST_NAMED]
    ]
    if len(merged) > _MOST_NAMED:
        named.append(f"and so on, {len(merged)} languages in all")
    logger.warning(
        "%s: different codes became one language: %s; %s", origin, "; ".join(named), remedy
    )


def warn_of_merged_files(origin: str, codes: Iterable[str], *, alike: bool = False) -> None:
    """Log which files of different codes are read as one language; one code a file.

    `alike` as for `warn_of_merged_languages`.
    """
    by_language: dict[str, Counter[str]] = {}
    for code in codes:
        by_language.setdefault(normalize_language(code), Counter())[code] += 1
    remedy = "to keep them apart, read each from a folder of its own"
    warn_of_merged_languages(origin, by_language, unit="files", remedy=remedy, alike=alike)


def unite_codes(parts: Iterable[LanguageCodes]) -> LanguageCodes:
    """Return the codes of several tables, but for languages of which one table has several."""
    united: dict[str, Counter[str]] = {}
    known = set()
    for part in parts:
        for name, counts in part.items():
            united.setdefault(name, Counter()).update(counts)
            if len(_distinct(counts)) > 1:
                known.add(name)
    return {name: counts for name, counts in united.items() if name not in known}


def _distinct(codes: Iterable[str], alike: bool = False) -> list[str]:
    """Return one spelling of each different code: of eng, en and zho_Hans, eng and zho_Hans."""
    spelt: dict[str, str] = {}
    for code in sorted(codes):
        exact = common_spelling(code) if alike else normalize_language(code, keep_variants=True)
        spelt.setdefault(exact, code)
    return list(spelt.values())


def language_named(name: str) -> str | None:
    """Return the code of a language by its English name, None if it is the name of none."""
    return _codes_by_name().get(name.lower())


def is_spelling_of(code: str, language: str) -> bool:
    """Tell whether a text is a code that becomes this language: deu_Latn of de."""
    try:
        return language in (normalize_language(code), normalize_language(code, keep_variants=True))
    except (TypeError, ValueError):
        return False


def _own_language(first: str, code: str) -> str:
    """Return the code of a language alone: two letters if it has two, its successor if renamed.

    A code that ISO has withdrawn may be replaced by one with a script: "sh" by "sr_Latn".
    """
    if first in _named_languages() and first not in _aliases():
        return first
    found = _iso_languages().get(first)
    if found is not None:
        if found.retire_reason in ("C", "D") and found.retire_change_to:  # renamed, a duplicate
            found = _iso_languages()[found.retire_change_to]
        short = found.part1 or found.part3
        return _aliases().get(short, short) if short == "sh" else short
    if first in _aliases() and len(first) == 2:
        return _aliases()[first]
    if first in {*_aliases(), *_GROUPS, *get_global("likely_subtags")} - _NOT_A_LANGUAGE:
        return first
    raise ValueError(f"unknown language {code!r}; {_suggestion(first)}")


def _broad_language(language: str) -> str:
    """Return the language that CLDR counts a variety to: zh of cmn, fa of prs, no of nb."""
    broad = _aliases().get(language, language).split("_")[0]
    return "no" if broad == "nb" else broad


def _is_extended(language: str, subtag: str) -> bool:
    """Tell whether a subtag names a variety of the language before it, as in zh-yue."""
    variety = _iso_languages().get(subtag) if len(subtag) == 3 and subtag.isalpha() else None
    if variety is None or variety.macrolanguage is None:
        return False
    whole = _iso_languages()[variety.macrolanguage]
    return language in (whole.part1, whole.part3)


def _canonical_subtags(subtags: list[str], code: str) -> list[str]:
    """Return script, region, variants and private subtags in canonical case and order."""
    lower = [subtag.lower() for subtag in subtags]
    begin = lower.index("x") if "x" in lower else len(lower)
    private = lower[begin:]
    if len(private) == 1 or not all(_PRIVATE.fullmatch(subtag) for subtag in private):
        raise ValueError(f"{code!r}: 'x' needs subtags of one to eight letters or digits after it")
    return [_canonical_subtag(subtag, code) for subtag in subtags[:begin]] + private


def _canonical_subtag(subtag: str, code: str) -> str:
    """Return a script, region or variant in canonical case; ValueError if it is none of these."""
    english = Locale("en")
    if subtag.title() in english.scripts:
        return subtag.title()
    if subtag.upper() in english.territories:
        return subtag.upper()
    nearest_script = get_close_matches(subtag.title(), english.scripts, 1, 0.8)
    if subtag.upper() in english.variants or (
        _VARIANT.fullmatch(subtag.lower()) and not nearest_script
    ):
        return subtag.lower()
    successors = get_global("territory_aliases").get(subtag.upper(), [])
    if len(successors) == 1:  # UK
        return successors[0]
    raise ValueError(
        f"{subtag!r} in the language code {code!r} is not a script, region or variant; "
        f"codes look like 'en', 'zh-Hant' or 'pt-BR'{_nearest_subtag(subtag)}"
    )


def _nearest_subtag(subtag: str) -> str:
    known = [*Locale("en").scripts, *Locale("en").territories]
    spelt = {name.lower(): name for name in known}
    matches = get_close_matches(subtag.lower(), spelt, 1, 0.7)
    return f"; did you mean {spelt[matches[0]]!r}?" if matches else ""


def _without_usual_script(code: str) -> str:
    language, *subtags = code.split("-")
    usual = get_global("likely_subtags").get(language, "").split("_")[1:2]
    return "-".join([language, *(subtags[1:] if subtags[:1] == usual else subtags)])


def _aliases() -> Mapping[str, str]:
    return get_global("language_aliases")


@cache
def _iso_languages() -> dict[str, iso639.Language]:
    """Return the languages of ISO 639, current and retired, by every code of two or three letters.

    Current ones win where a code was given anew.

    Raises:
        ImportError: another package of that module name is installed.
    """
    import iso639  # reads its tables for 0.2 s, which most codes of two letters do not need

    if not hasattr(iso639, "ALL_LANGUAGES"):
        raise ImportError(
            "the module iso639 is that of another package (iso639, iso639-lang); uninstall that "
            "and install python-iso639 again"
        )
    languages = sorted(iso639.ALL_LANGUAGES, key=lambda language: language.status == "A")
    return {
        code: language
        for language in languages
        for code in (language.part2b, language.part2t, language.part1, language.part3)
        if code and code not in _NOT_A_LANGUAGE
    }


@cache
def _named_languages() -> dict[str, str]:
    """Return the English name of each language code that CLDR has a name for."""
    names = Locale("en").languages.items()
    return {code: name for code, name in names if "_" not in code and code not in _NOT_A_LANGUAGE}


@cache
def _codes_by_name() -> dict[str, str]:
    return {name.lower(): code for code, name in _named_languages().items()}


def _suggestion(code: str) -> str:
    """Name known languages whose code or English name is similar to the given code."""
    known, by_name = _named_languages(), _codes_by_name()
    matches = [by_name[name] for name in get_close_matches(code.lower(), by_name, 1, 0.8)]
    matches += get_close_matches(code.lower(), known, 3, 0.6)
    if not matches:
        return "give a BCP-47 code such as 'en', 'zh' or 'sw'"
    named = [f"{match!r} ({known[match]})" for match in dict.fromkeys(matches)]
    return f"did you mean {' or '.join(named)}?"
