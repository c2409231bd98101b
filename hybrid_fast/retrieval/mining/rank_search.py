"""The search for the passages of some ranks, counted without the answers of an item."""

from __future__ import annotations

import numpy as np

from hybrid_fast.retrieval.mining.answers import Answers
from hybrid_fast.retrieval.mining.candidates import Candidates, Found, Queries
from hybrid_fast.retrieval.mining.existing import ExistingNegatives
from hybrid_fast.retrieval.mining.search_plan import LanguageSearch
from hybrid_fast.retrieval.mining.selection import RankedPassages, rank_others

# Passages that one search finds at most, for all its queries.
PASSAGES_AT_A_TIME = 2**20
# A search goes this much deeper than the ranks that are asked for, since answers are left out.
_SPARE = 16


class RankSearch:
    """Finds passages of some ranks that are no answers to n items.

    Attributes:
        found: what was found, empty at first.
        left_out: how many answers were left out of what was found for each item, int64 (n,).
    """

    def __init__(
        self,
        rows: np.ndarray,
        queries: Queries,
        answers: Answers,
        candidates: Candidates,
        existing: ExistingNegatives | None,
        found: RankedPassages,
    ) -> None:
        """Take the items.

        Args:
            rows: of n items in the table, int64 (n,).
            queries: of n items.
            answers: of the table.
            candidates: what is searched.
            existing: texts that are to be left out too, of n items.
            found: takes what is found.
        """
        self._rows, self._queries, self._answers = rows, queries, answers
        self._candidates, self._existing = candidates, existing
        self.found, self.left_out = found, np.zeros(len(rows), np.int64)

    def run(self, search: LanguageSearch) -> None:
        """Search some languages, deeper for those items that have many answers."""
        items = search.items
        depth = min(self.found.last + _SPARE, search.total)
        while len(items):
            step = max(1, PASSAGES_AT_A_TIME // depth)
            parts = [
                self._run(search, items[start : start + step], depth)
                for start in range(0, len(items), step)
            ]
            items = np.concatenate(parts)
            depth = min(4 * depth, search.total)

    def _run(self, search: LanguageSearch, items: np.ndarray, depth: int) -> np.ndarray:
        """Search at a depth; return the items that need a deeper search."""
        hits = self._candidates.search(self._queries.take(items), depth, search.languages)
        ranks, known = self._rank(items, hits)
        is_done = (depth >= search.total) | (hits.numbers[:, -1] < 0)
        is_done |= ranks.max(axis=1) >= self.found.last
        done = Found(hits.numbers[is_done], hits.scores[is_done])
        self.found.put(items[is_done], search.column, done, ranks[is_done])
        self.left_out[items[is_done]] += known[is_done].sum(axis=1)
        return items[~is_done]

    def _rank(self, items: np.ndarray, hits: Found) -> tuple[np.ndarray, np.ndarray]:
        """Return the rank of each passage, 0 for one left out, and which are answers."""
        codes = _look_up(self._candidates.codes, hits.numbers)
        passages = _look_up(self._candidates.passages, hits.numbers)
        known = self._answers.are_known(self._rows[items], passages)
        left_out = known
        if self._existing is not None:
            left_out = known | self._existing.among(items, codes)
        return rank_others(hits.numbers, codes, left_out), known


def _look_up(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the value of each number, -1 where the number is."""
    found = np.full(numbers.shape, -1, values.dtype)
    is_there = numbers >= 0
    found[is_there] = values[numbers[is_there]]
    return found
