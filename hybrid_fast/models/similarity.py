"""The similarities that embeddings are compared by, under the names that they have elsewhere."""

from __future__ import annotations

from enum import Enum
from typing import Literal

Similarity = Literal["cosine", "dot"]

# sentence-transformers saves "cosine" and "dot"; its evaluators, BEIR, mteb and stores of vectors
# spell them otherwise.
_NAMES: dict[str, Similarity] = {
    **dict.fromkeys(("cosine", "cos", "cos_sim", "cosine_similarity"), "cosine"),
    **dict.fromkeys(("dot", "dot_score", "dot_product", "inner_product", "ip"), "dot"),
}


def check_similarity(name: str, value: object, remedy: str = "") -> Similarity:
    """Return a similarity by our name; None is "cosine", as sentence-transformers reads it.

    Args:
        name: of what says so, for the message.
        value: a name or an enum of names, such as "cos_sim".
        remedy: what to do about one that is not supported.

    Raises:
        ValueError: any other similarity or distance.
    """
    if value is None:
        return "cosine"
    text = value.value if isinstance(value, Enum) else value
    known = _NAMES.get(str(text).lower().replace("-", "_"))
    if known is None:
        raise ValueError(
            f"{name} is {text!r}; it must be one of 'cosine', 'dot', since texts are ranked by "
            f"products of their embeddings{remedy}"
        )
    return known
