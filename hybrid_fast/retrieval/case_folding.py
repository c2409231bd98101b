"""Case folded by the rules of a language: words that differ in case alone become equal.

Everywhere Unicode's full case folding, in which ß is ss, and σ and ς are one letter. Beyond it, by
Unicode's SpecialCasing.txt:

    Turkish, Azerbaijani and other alphabets with two i's
                    I is the capital of ı, and İ that of i
    these and Lithuanian
                    a dot above that follows i, j or į is no letter of its own
"""

from __future__ import annotations

import re
from unicodedata import normalize

from hybrid_fast.data.languages import normalize_if_known

_TWO_IS = {"az", "crh", "gag", "tr"}
_SOFT_DOTTED = {*_TWO_IS, "lt"}
_DOT_ABOVE = re.compile("(?<=[ij\u012f])\u0307")
# Where folding and plain lower case differ in the language's own spelling.
WITH_OWN_RULES = frozenset({*_SOFT_DOTTED, "de", "el"})


def fold_case(text: str, language: str) -> str:
    """Return a text without differences of case.

    Args:
        text: any text.
        language: its code; if it is unknown, Unicode's general rules apply.
    """
    language = normalize_if_known(language)
    if language in _TWO_IS:
        # Composed first: İ may be spelt I and a dot above.
        text = normalize("NFC", text).replace("I", "ı").replace("İ", "i")
    text = text.casefold()
    if language in _SOFT_DOTTED:
        text = normalize("NFC", _DOT_ABOVE.sub("", text))
    return text
