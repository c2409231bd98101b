"""What the data package takes from the inside of other libraries, with the versions it knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from babel import localedata


def locale_identifiers() -> list[str]:
    """Return the ids of all locales of CLDR, such as "de" and "de_AT".

    Raises:
        ImportError: babel holds its data in another form.
    """
    try:
        return list(localedata.locale_identifiers())
    except AttributeError as error:
        raise _unknown_babel() from error


def stated_week(identifier: str) -> dict[str, Any]:
    """Return what CLDR states of a locale's week ("first_day" and others), nothing inherited.

    babel's public `Locale` has inherited values alone, which do not tell what is stated.

    Raises:
        ImportError: babel holds its data in another form.
    """
    try:
        with _not_in_cache(identifier):
            return dict(localedata.load(identifier, merge_inherited=False)["week_data"])
    except (AttributeError, KeyError, TypeError) as error:
        raise _unknown_babel() from error


@contextmanager
def _not_in_cache(identifier: str) -> Iterator[None]:
    """Put what babel has loaded of a locale aside: it is cached whether or not it was merged.

    Else what is stated would depend on what the process did before, and a `Locale` that is used
    later would lack all that it inherits.
    """
    with localedata._cache_lock:
        loaded = localedata._cache.pop(identifier, None)
        try:
            yield
        finally:
            localedata._cache.pop(identifier, None)
            if loaded is not None:
                localedata._cache[identifier] = loaded


def _unknown_babel() -> ImportError:
    return ImportError(
        f"babel {version('babel')} holds its locale data in a form that the built-in corpus does "
        "not know; install babel 2.16, 2.17 or 2.18"
    )
