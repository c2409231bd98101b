"""Ids of what is ranked where ids must differ: in a TREC run, and in a store of vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hybrid_fast.retrieval.texts import Pool, TextCollection


class PoolIds:
    """Ids of a pool's members, all different, and of the vectors in a store that stand for them.

    Attributes:
        members: id of each member of the pool: its own; where several share one,
            "language:id"; where these repeat or one is empty, "language:id#number".
        vectors: id of each candidate in a store: of the member that it is, or "member#number" of
            one of its segments.
    """

    def __init__(self, candidates: TextCollection, pool: Pool) -> None:
        """Find them.

        Args:
            candidates: the candidates.
            pool: what is ranked: the candidates, or the documents whose segments they are, which
                all have ids of their own.
        """
        self._has_segments = pool is not candidates
        ids = distinguish(pool)
        if len(set(ids)) < len(ids) or "" in ids:
            ids = _number(ids)
        self.members = ids
        self.vectors = _number(candidates.ids) if self._has_segments else ids

    def member_of(self, vector: str) -> str:
        """Return the id of the member that a vector stands for."""
        return vector.rpartition("#")[0] if self._has_segments else vector


def distinguish(members: Pool) -> list[str]:
    """Return the id of each member, prefixed with its language if ids repeat."""
    ids = list(members.ids)
    if len(set(ids)) < len(ids):
        languages = (members.languages[code] for code in members.language_codes)
        ids = [f"{language}:{each}" for language, each in zip(languages, ids, strict=True)]
    return ids


def _number(ids: Iterable[str]) -> list[str]:
    seen = Counter[str]()
    numbered = []
    for each in ids:
        seen[each] += 1
        numbered.append(f"{each}#{seen[each]}")
    return numbered
