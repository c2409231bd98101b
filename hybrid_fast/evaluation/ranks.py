"""Exact ranks of the relevant candidates, without storing scores or sorting anything.

Queries are scored tile by tile, by one float32 matrix product or any other scorer; in each tile the
C++ core counts the candidates ahead of every relevant one, in the pool of its own language and in
the union pool. The score of a relevant is read from the very tile that is counted, since a second
product may differ in its last bit. Order: score descending, equal scores by position; the union
pool is the language pools one after the other, in the order of language codes.

Ranks of a process group take tiles in turn. A tile is the same product on whichever rank, so the
result is bitwise identical to that of one process with as many threads.

Cost: the scores, plus about R comparisons for each, R being the number of relevants of a query;
memory: one tile (`TILE_BYTES`) and 16 bytes per relevant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast import _core
from hybrid_fast.evaluation.segments import DocumentScores
from hybrid_fast.retrieval.scores import TILE_BYTES, ScoreRows
from hybrid_fast.retrieval.shared_work import SharedWork, hides_progress, own_parts

MIN_TILE_ROWS, MAX_TILE_ROWS = 32, 512


class TileConsumer(Protocol):
    """What is counted of each tile beside the ranks of relevants."""

    def __call__(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Add rows of queries, int64 (n,), and their scores, float32 (n, num_candidates)."""

    def combine(self, shared: SharedWork, rows_of_ranks: list[np.ndarray]) -> None:
        """Add what the other ranks have counted, of their rows of queries."""


class Relevants(NamedTuple):
    """Relevant candidates query by query: those of query i are rows[offsets[i] : offsets[i + 1]].

    Attributes:
        offsets: int64 (num_queries + 1,).
        rows: positions of candidates, int64 (num_relevants,).
        grades: how relevant each is, above 0, float64 (num_relevants,); None if all are 1.
    """

    offsets: np.ndarray
    rows: np.ndarray
    grades: np.ndarray | None = None

    @property
    def counts(self) -> np.ndarray:
        """Number of relevants of each query, int64 (num_queries,)."""
        return np.diff(self.offsets)

    @property
    def query_rows(self) -> np.ndarray:
        """The query of each relevant, int64 (num_relevants,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def entries(self, query_rows: np.ndarray) -> np.ndarray:
        """Return the positions in `rows` of the relevants of some queries, in order: int64."""
        counts = self.counts[query_rows]
        starts = self.offsets[query_rows] - (np.cumsum(counts) - counts)
        return np.arange(counts.sum()) + np.repeat(starts, counts)


class Unfound(NamedTuple):
    """Relevants that no ranking can hold, so that their rank is infinite.

    Attributes:
        query_rows: the query of each, int64 (n,).
        languages: code of the language among whose candidates it is missed, int64 (n,).
        grades: how relevant it is, float64 (n,).
        ids: the id by which the judgements name it.
    """

    query_rows: np.ndarray
    languages: np.ndarray
    grades: np.ndarray
    ids: Sequence[str]

    @classmethod
    def of(cls, entries: Sequence[tuple[int, int, float, str]]) -> Unfound:
        """Take them from (query row, language code, grade, id)."""
        rows, languages, grades, ids = zip(*entries, strict=True) if entries else ((), (), (), ())
        return cls(
            np.array(rows, np.int64), np.array(languages, np.int64), np.array(grades, float), ids
        )


class Ranks(NamedTuple):
    """Ranks from 1 of each relevant, int64 (num_relevants,), in the order of `Relevants.rows`."""

    in_language: np.ndarray
    in_pool: np.ndarray


def rank_relevants(
    score_rows: ScoreRows,
    language_starts: np.ndarray,
    relevants: Relevants,
    *,
    groups: np.ndarray | None = None,
    on_tile: TileConsumer | None = None,
    document_scores: DocumentScores | None = None,
    tile_bytes: int = TILE_BYTES,
    shared: SharedWork | None = None,
) -> Ranks:
    """Rank every relevant candidate of every query.

    Args:
        score_rows: scores candidates, or their segments, sorted by language; no score may be NaN.
        language_starts: int64 (num_languages + 1,), first candidate of each language, then
            num_candidates.
        relevants: what to rank.
        groups: int64 (num_queries,); queries of equal numbers are scored in the same tile, which
            grows if necessary. None: each query is a group of its own.
        on_tile: called with the queries of each tile and their scores.
        document_scores: turns the scores of segments, which `score_rows` gives, into scores of
            their documents; then documents are ranked, and `language_starts` and `relevants` refer
            to them.
        tile_bytes: memory for scores; at least 32 rows are scored at a time, since fewer would read
            all candidates too often.
        shared: ranks that each do a part of this call.

    Returns:
        The ranks 1 + #{k: s_k > s_j} + #{k < j: s_k = s_j} within language pool and union pool.
    """
    num_queries, num_candidates = len(relevants.counts), int(language_starts[-1])
    if document_scores is not None:
        num_candidates = document_scores.num_segments
    num_rows = tile_bytes // (4 * num_candidates)
    num_rows = min(max(num_rows, MIN_TILE_ROWS), MAX_TILE_ROWS, num_queries)
    tiles = _tiles(np.arange(num_queries) if groups is None else groups, num_rows)
    tile = np.empty((max(map(len, tiles)), num_candidates), dtype=np.float32)
    ranks = Ranks(np.empty_like(relevants.rows), np.empty_like(relevants.rows))
    own = own_parts(tiles, shared)
    for rows in tqdm(own, desc="rank", unit="tile", delay=2, disable=hides_progress(), leave=False):
        scores = tile[: len(rows)]
        score_rows(rows, scores)
        if document_scores is not None:
            scores = document_scores(scores)
        entries = relevants.entries(rows)
        ranks.in_language[entries], ranks.in_pool[entries] = _core.count_ranks(
            scores,
            language_starts,
            np.cumsum([0, *relevants.counts[rows]]),
            relevants.rows[entries],
            num_threads=torch.get_num_threads(),
        )
        if on_tile is not None:
            on_tile(rows, scores)
    if shared is not None:
        rows_of_ranks = shared.rows_of_ranks(tiles)
        for array in ranks:
            shared.fill_in(array, [relevants.entries(rows) for rows in rows_of_ranks])
        if on_tile is not None:
            on_tile.combine(shared, rows_of_ranks)
    return ranks


def _tiles(groups: np.ndarray, num_rows: int) -> list[np.ndarray]:
    """Return rows of queries in tiles of at most `num_rows`, except where a group is larger."""
    order = np.argsort(groups, kind="stable")
    ends = [*np.flatnonzero(np.diff(groups[order])) + 1, len(groups)]
    tiles, start, stop = [], 0, 0
    for end in ends:
        if end - start > num_rows and stop > start:
            tiles.append(order[start:stop])
            start = stop
        stop = end
    return [*tiles, order[start:]]
