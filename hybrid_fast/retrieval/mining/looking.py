"""The search for the passages of some ranks, counted without the answers of an item."""

from __future__ import annotations

import numpy as np

from hybrid_fast.retrieval.mining.answers import Answers
from hybrid_fast.retrieval.mining.candidates import Candidates, Found, Queries
from hybrid_fast.retrieval.mining.existing import Existing
from hybrid_fast.retrieval.mining.scopes import Scope
from hybrid_fast.retrieval.mining.selection import Window, rank_others

# Passages that one search finds at most, for all its queries.
PASSAGES_AT_A_TIME = 2**20
# A search goes this much deeper than the ranks that are asked for, since answers are left out.
_SPARE = 16


class Looking:
    """Looks for passages that are no answers to some items.

    Attributes:
        left_out: how many answers were left out of what was found for each item, int64 (n,).
    """

    def __init__(
        self,
        rows: np.ndarray,
        queries: Queries,
        answers: Answers,
        candidates: Candidates,
        existing: Existing | None,
    ) -> None:
        """Take the items.

        Args:
            rows: of n items in the table, int64 (n,).
            queries: of n items.
            answers: of the table.
            candidates: what is searched.
            existing: texts that are to be left out too, of n items.
        """
        self._rows, self._queries, self._answers = rows, queries, answers
        self._candidates, self._existing = candidates, existing
        self.left_out = np.zeros(len(rows), np.int64)

    def fill(self, window: Window, scope: Scope) -> None:
        """Search for the items of a scope, deeper for those that have many answers."""
        items = scope.items
        depth = min(window.last + _SPARE, scope.total)
        while len(items):
            step = max(1, PASSAGES_AT_A_TIME // depth)
            parts = [
                self._fill(window, scope, items[start : start + step], depth)
                for start in range(0, len(items), step)
            ]
            items = np.concatenate(parts)
            depth = min(4 * depth, scope.total)

    def _fill(self, window: Window, scope: Scope, items: np.ndarray, depth: int) -> np.ndarray:
        """Search at a depth; return the items that need a deeper search."""
        found = self._candidates.search(self._queries.take(items), depth, scope.languages)
        ranks, known = self._rank(items, found)
        is_done = (depth >= scope.total) | (found.numbers[:, -1] < 0)
        is_done |= ranks.max(axis=1) >= window.last
        done = Found(found.numbers[is_done], found.scores[is_done])
        window.put(items[is_done], scope.column, done, ranks[is_done])
        self.left_out[items[is_done]] += known[is_done].sum(axis=1)
        return items[~is_done]

    def _rank(self, items: np.ndarray, found: Found) -> tuple[np.ndarray, np.ndarray]:
        """Return the rank of each passage, 0 for one left out, and which are answers."""
        is_there = found.numbers >= 0
        codes = self._candidates.codes[found.numbers]
        passages = np.where(is_there, self._candidates.passages[found.numbers], -1)
        known = self._answers.are_known(self._rows[items], passages)
        left_out = known if self._existing is None else (
            known | self._existing.among(items, codes)
        )  # fmt: skip
        return rank_others(found.numbers, codes, left_out), known
