"""Ranks of relevants from searches in a store: exact up to a depth, infinite beyond it.

Hits are what the store finds; where it is exact, so are the ranks, equal scores included: the store
orders these by the time they were added, which is the order of the candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.evaluation.language_bias import CUTOFF
from hybrid_fast.evaluation.ranks import Ranks, Relevants
from hybrid_fast.evaluation.tasks.own_ids import OwnIds
from hybrid_fast.evaluation.tasks.pool_ids import PoolIds
from hybrid_fast.retrieval.exact_search import TILE_ROWS
from hybrid_fast.retrieval.shared_work import hides_progress
from hybrid_fast.retrieval.stores import Store
from hybrid_fast.retrieval.texts import Pool


class Ranking(NamedTuple):
    """What was found for a query, best first, without what is left out.

    Attributes:
        row: of the query.
        members: ids of members of the pool.
        languages: of each.
        scores: of each, float32 (n,).
    """

    row: int
    members: list[str]
    languages: list[str]
    scores: np.ndarray


@dataclass(frozen=True)
class PoolSearch:
    """Searches of a task's pool in a store.

    Attributes:
        store: holds the vectors of its candidates.
        queries: vectors of its queries, float32 (num_queries, D).
        ids: of the pool's members, and of their vectors.
        own_ids: members that are left out of the ranking of a query.
    """

    store: Store
    queries: np.ndarray
    ids: PoolIds
    own_ids: OwnIds

    def __call__(
        self, rows: np.ndarray, depth: int, language: str | None = None
    ) -> Iterator[Ranking]:
        """Yield the first members of the pool for each query, fewer where there are no more.

        Where several vectors stand for a member, or members are left out, the search goes deeper
        until there are enough.

        Args:
            rows: of queries, int64 (n,).
            depth: how many members.
            language: of the members; None: any.
        """
        starts = range(0, len(rows), TILE_ROWS)
        desc = f"search {language or 'all languages'}"
        for start in tqdm(starts, desc=desc, delay=2, disable=hides_progress(), leave=False):
            part = rows[start : start + TILE_ROWS]
            counts = self.own_ids.candidates.counts[part] if self.own_ids.excluded else 0
            num_hits = depth + int(np.max(counts))
            found = self._search(part, depth, num_hits, language)
            yield from (found[row] for row in part.tolist())

    def _search(
        self, rows: np.ndarray, depth: int, num_hits: int, language: str | None
    ) -> dict[int, Ranking]:
        """Return the rankings by so many hits, or by more for those that need it."""
        hits = self.store.search(
            self.queries[rows], num_hits, None if language is None else [language]
        )
        rankings: dict[int, Ranking] = {}
        short: list[int] = []
        for row, ids, languages, scores in zip(rows.tolist(), *hits, strict=True):
            rankings[row] = self._members(row, ids, languages, scores, depth)
            if len(rankings[row].members) < depth and len(ids) == num_hits:
                short.append(row)
        if short:
            rankings |= self._search(np.array(short), depth, 2 * num_hits, language)
        return rankings

    def _members(
        self, row: int, vectors: list[str], languages: list[str], scores: np.ndarray, depth: int
    ) -> Ranking:
        """Return the members of hits, each where its best vector is, without those left out."""
        place_of: dict[str, int] = {}
        for place, vector in enumerate(vectors):
            place_of.setdefault(self.ids.member_of(vector), place)
        for own in self._left_out(row):
            place_of.pop(own, None)
        places = list(place_of.values())[:depth]
        return Ranking(
            row, list(place_of)[:depth], [languages[each] for each in places], scores[places]
        )

    def _left_out(self, row: int) -> list[str]:
        if not self.own_ids.excluded:
            return []
        entries = self.own_ids.in_pool.entries(np.array([row]))
        return [self.ids.members[place] for place in self.own_ids.in_pool.rows[entries].tolist()]


class Found(NamedTuple):
    """What searches for all queries found.

    Attributes:
        ranks: of each relevant, float64, infinite where it was not found.
        languages: codes of the first members in the union pool, int64 (num_queries, CUTOFF); -1
            beyond the last.
        are_relevant: whether each is relevant, bool (num_queries, CUTOFF).
    """

    ranks: Ranks
    languages: np.ndarray
    are_relevant: np.ndarray


class RankFinder:
    """Notes the ranks of relevants in rankings that it is given one by one.

    Attributes:
        found: so far.
    """

    def __init__(self, relevants: Relevants, pool: Pool, members: list[str]) -> None:
        """Start with nothing found.

        Args:
            relevants: what to rank.
            pool: what is searched.
            members: id of each member of the pool.
        """
        num_relevants, shape = len(relevants.rows), (len(relevants.counts), CUTOFF)
        ranks = Ranks(np.full(num_relevants, np.inf), np.full(num_relevants, np.inf))
        self.found = Found(ranks, np.full(shape, -1), np.zeros(shape, dtype=bool))
        self._relevants, self._pool, self._members = relevants, pool, members

    def rank_in_pool(self, rankings: Iterable[Ranking]) -> Iterator[Ranking]:
        """Take the rankings of the union pool, and pass them on."""
        codes = {language: code for code, language in enumerate(self._pool.languages)}
        for ranking in rankings:
            wanted = self._note(ranking, self.found.ranks.in_pool)
            first = slice(0, min(CUTOFF, len(ranking.members)))
            row, languages = ranking.row, ranking.languages[first]
            self.found.languages[row, first] = [codes[each] for each in languages]
            self.found.are_relevant[row, first] = [
                member in wanted for member in ranking.members[first]
            ]
            yield ranking

    def rank_in_languages(self, search: PoolSearch, depth: int) -> None:
        """Search for relevants among the members of their own language."""
        if len(self._pool.counts) == 1:
            self.found.ranks.in_language[:] = self.found.ranks.in_pool
            return
        codes = self._pool.language_codes[self._relevants.rows]
        for code in np.unique(codes).tolist():
            rows = np.unique(self._relevants.query_rows[codes == code])
            for ranking in search(rows, depth, self._pool.languages[code]):
                self._note(ranking, self.found.ranks.in_language)

    def _note(self, ranking: Ranking, ranks: np.ndarray) -> dict[str, int]:
        """Note the ranks of a query's relevants; return their ids and positions among all."""
        entries = self._relevants.entries(np.array([ranking.row])).tolist()
        wanted = {self._members[self._relevants.rows[each]]: each for each in entries}
        for rank, member in enumerate(ranking.members, 1):
            if member in wanted:
                ranks[wanted[member]] = rank
        return wanted
