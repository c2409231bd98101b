"""Words of a text in any language, as ICU divides it.

ICU follows Unicode's word boundaries (UAX 29), and dictionaries where words are not set apart: in
Thai, Lao, Khmer, Burmese, Chinese and Japanese. There is no stemming and no list of stop words.
"""

from __future__ import annotations

import unicodedata
from types import ModuleType


def load_optional(name: str) -> ModuleType:
    """Import a module of the extra "baselines".

    Raises:
        ImportError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"BM25 needs {name.partition('.')[0]}, which is not installed; "
            "pip install 'hybrid_fast[baselines]'"
        ) from error


def split_words(text: str, language: str) -> list[str]:
    """Return the words of a text in order, in NFKC and without case.

    Args:
        text: any text.
        language: its BCP-47 code; one that ICU does not know is divided by the general rules.

    Raises:
        ImportError: icu4py is not installed.
    """
    breakers = load_optional("icu4py.breakers")
    folded = unicodedata.normalize("NFKC", text).casefold()
    segments = breakers.WordBreaker(folded, language)
    return [segment for segment in segments if any(map(str.isalnum, segment))]
