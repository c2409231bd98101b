"""The built-in corpus: parallel questions and answers in 14 languages, without network.

Facts come from Unicode CLDR through babel, phrasings from our own templates. A group is one fact
about one entity ("territory:FR/currency") in all languages. The split is by (entity, fact): a test
question is new, but training has other facts about its entity. The split depends on the group ids
alone, never on a model.
"""

from hybrid_fast.data.builtin.corpus import (
    COLUMNS,
    SPLITS,
    TEST_SHARE,
    builtin_items,
    load_builtin,
)
from hybrid_fast.data.builtin.templates import LANGUAGES

__all__ = ["COLUMNS", "LANGUAGES", "SPLITS", "TEST_SHARE", "builtin_items", "load_builtin"]
