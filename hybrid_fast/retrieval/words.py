"""Words of a text in any language, as ICU divides it.

ICU follows Unicode's word boundaries (UAX 29), and dictionaries where words are not separated: in
Thai, Lao, Khmer, Burmese, Chinese and Japanese. There is no stemming and no list of stop words.
"""

from __future__ import annotations

import unicodedata

from hybrid_fast.retrieval.compat import load_optional


def split_words(text: str, language: str) -> list[str]:
    """Return the words of a text in order, in NFKC and case-folded.

    Args:
        text: any text.
        language: its BCP-47 code; if ICU does not know it, the general rules apply.

    Raises:
        ImportError: icu4py is not installed.
    """
    breakers = load_optional("icu4py.breakers")
    folded = unicodedata.normalize("NFKC", text).casefold()
    segments = breakers.WordBreaker(folded, language)
    return [segment for segment in segments if any(map(str.isalnum, segment))]
