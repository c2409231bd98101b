"""Queries that are documents of the corpus: in its own ranking each of them is left out.

BEIR leaves the document with the query's id out of all data sets. It matters for ArguAna and Quora,
whose queries would find themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from hybrid_fast.evaluation.ranks import Relevants, Unfound
from hybrid_fast.evaluation.segments import DocumentScores
from hybrid_fast.evaluation.tasks.judgements import Judged
from hybrid_fast.retrieval.exact_search import search_tiles
from hybrid_fast.retrieval.scores import ScoreRows
from hybrid_fast.retrieval.texts import Pool, TextCollection

logger = logging.getLogger(__name__)
Ranking = tuple[int, np.ndarray, np.ndarray]  # a query's row, its hits and their scores, best first


class OwnIds:
    """The candidates that have the id of a query, and whether they are left out of its ranking.

    Attributes:
        excluded: whether they are.
        candidates: their positions for each query.
        in_pool: the same in the pool, whose members are candidates or documents made of them.
    """

    def __init__(
        self, queries: TextCollection, candidates: TextCollection, pool: Pool, exclude: bool | None
    ) -> None:
        """Look them up.

        Args:
            queries: the queries.
            candidates: the candidates, which may be segments of documents.
            pool: what is ranked.
            exclude: whether to leave them out; None: no, unless somebody says so.
        """
        self.excluded = bool(exclude)
        self.candidates = _rows_of_ids(queries.ids, candidates.ids)
        self.in_pool = self.candidates
        if pool is not candidates:
            self.in_pool = _rows_of_ids(queries.ids, pool.ids)
        self._queries, self._texts, self._is_asked = queries, candidates, exclude is not None

    def mask(self, score_rows: ScoreRows) -> ScoreRows:
        """Return the scorer with minus infinity for what is left out."""
        if not self.excluded:
            return score_rows

        def masked(rows: np.ndarray, scores: np.ndarray) -> None:
            score_rows(rows, scores)
            places = np.repeat(np.arange(len(rows)), self.candidates.counts[rows])
            scores[places, self.candidates.rows[self.candidates.entries(rows)]] = -np.inf

        return masked

    def remove(self, judged: Judged, pool: Pool) -> Judged:
        """Return the relevants with those that are left out among those that cannot be found."""
        relevants, unfound = judged
        pairs = {*zip(self.in_pool.query_rows.tolist(), self.in_pool.rows.tolist(), strict=True)}
        query_rows = relevants.query_rows
        given = zip(query_rows.tolist(), relevants.rows.tolist(), strict=True)
        is_own = np.array([self.excluded and pair in pairs for pair in given], dtype=bool)
        if not is_own.any():
            return judged
        grades = np.ones(len(is_own)) if relevants.grades is None else relevants.grades
        own = Unfound(
            np.append(unfound.query_rows, query_rows[is_own]),
            np.append(unfound.languages, pool.language_codes[relevants.rows[is_own]]),
            np.append(unfound.grades, grades[is_own]),
            [*unfound.ids, *(pool.ids[row] for row in relevants.rows[is_own].tolist())],
        )
        counts = np.bincount(query_rows[~is_own], minlength=len(relevants.counts))
        kept = Relevants(np.append(0, np.cumsum(counts)), relevants.rows[~is_own], grades[~is_own])
        return Judged(kept, own)

    def first(
        self,
        queries: np.ndarray,
        candidates: np.ndarray,
        depth: int,
        document_scores: DocumentScores | None,
    ) -> Iterator[Ranking]:
        """Yield the first hits of each query that are not left out, see `search_tiles`."""
        more = int(self.in_pool.counts.max()) if self.excluded and depth > 0 else 0
        for rows, hits in search_tiles(
            queries, candidates, depth + more, document_scores=document_scores
        ):
            for row, places, scores in zip(rows, hits.rows, hits.scores, strict=True):
                if more:
                    own = self.in_pool.rows[self.in_pool.entries(np.array([row]))]
                    kept = ~np.isin(places, own)
                    places, scores = places[kept][:depth], scores[kept][:depth]
                yield int(row), places, scores

    def say(self, task: str) -> None:
        """Log what is left out; or, if nobody asked for either, that it may be wanted."""
        num_queries = len(self._queries)
        if self.excluded:
            logger.info(
                "task %r: %d of %d queries have the id of a document, which is left out of their "
                "ranking, as BEIR does (exclude_self)",
                task,
                np.count_nonzero(self.candidates.counts),
                num_queries,
            )
        elif not self._is_asked and (count := self._count_own_texts()):
            logger.warning(
                "task %r: %d of %d queries are documents of the corpus, which rank first for "
                "themselves; exclude_self=True leaves them out, as BEIR does",
                task,
                count,
                num_queries,
            )

    def _count_own_texts(self) -> int:
        """Return how many queries are the text, or the end of the text, of their own candidate."""
        pairs = zip(self.candidates.query_rows.tolist(), self.candidates.rows.tolist(), strict=True)
        same = {query for query, row in pairs if self._texts[row].endswith(self._queries[query])}
        return len(same)


def _rows_of_ids(query_ids: Sequence[str], ids: Sequence[str]) -> Relevants:
    """Return, for each query, the positions in `ids` of its own id."""
    wanted = set(query_ids)
    rows_of: dict[str, list[int]] = {}
    for row, each in enumerate(ids):
        if each in wanted:
            rows_of.setdefault(each, []).append(row)
    rows = [rows_of.get(query_id, []) for query_id in query_ids]
    return Relevants(
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        rows=np.array([row for some in rows for row in some], dtype=np.int64),
    )
