"""Mining of some rows of a table at a time: search, ranks, scores, choice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.data import AlignedTable
from hybrid_fast.models.similarity import Similarity
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.encoders import Encoder
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.mining.answers import Answers
from hybrid_fast.retrieval.mining.candidates import Candidates, Found, Queries
from hybrid_fast.retrieval.mining.existing import Existing
from hybrid_fast.retrieval.mining.options import MiningOptions
from hybrid_fast.retrieval.mining.output import MinedRows
from hybrid_fast.retrieval.mining.passages import PassageVectors, TablePassages
from hybrid_fast.retrieval.mining.report import MiningReport
from hybrid_fast.retrieval.mining.selection import Window, choose, rank_others, refused
from hybrid_fast.retrieval.reranking import Reranker, score_pairs
from hybrid_fast.retrieval.shared_work import hides_progress

# Passages that are held at a time for all items, and found by one search.
PASSAGES_AT_A_TIME = 2**20
_MOST_ITEMS = 8192
# A search goes this much deeper than the ranks that are asked for, since answers are left out.
_SPARE = 16


class Miner:
    """Finds the negatives of the rows of a table.

    Attributes:
        report: what was found so far.
    """

    def __init__(
        self,
        table: AlignedTable,
        options: MiningOptions,
        *,
        answers: Answers,
        vectors: PassageVectors,
        candidates: Candidates,
        encode_queries: Encoder,
        similarity: Similarity,
        reranker: Reranker | None = None,
        batch_size: int | None = None,
    ) -> None:
        self._table, self._options, self._answers = table, options, answers
        self._vectors, self._candidates = vectors, candidates
        self._encoder, self._similarity = encode_queries, similarity
        self._reranker, self._batch_size = reranker, batch_size
        self._passages = TablePassages(table, answers)
        self.report = MiningReport.of_languages(table.languages)
        self._scopes = Scopes(options, table.languages, candidates.counts)

    def mine(self) -> Iterator[tuple[slice, MinedRows]]:
        """Yield parts of the table, in order, and what was found for their rows."""
        width = self._scopes.num_columns * self._options.depth
        step = max(1, min(_MOST_ITEMS, PASSAGES_AT_A_TIME // width))
        with tqdm(
            total=len(self._table), desc="mine", delay=2, disable=hides_progress(), leave=False
        ) as progress:
            for start in range(0, len(self._table), step):
                part = slice(start, min(start + step, len(self._table)))
                yield part, self._mine_part(part)
                progress.update(part.stop - start)

    def _mine_part(self, part: slice) -> MinedRows:
        existing = Existing.of_rows(self._table, part)
        places = np.flatnonzero(self._table.has_query[part])
        if self._options.existing == "replace":
            existing = Existing.none(part.stop - part.start)
        elif self._options.existing == "keep":
            kept = existing.are_there[places]
            self._count_kept(places[kept] + part.start)
            places = places[~kept]
        made = MinedRows(
            existing.negatives,
            existing.scores,
            np.full(part.stop - part.start, np.nan, np.float32),
        )
        if len(places):
            self._mine_places(part.start, places, existing, made)
        self._candidates.forget()
        return made

    def _mine_places(
        self, start: int, places: np.ndarray, existing: Existing, made: MinedRows
    ) -> None:
        """Find negatives for some rows of a part, and put them into `made`."""
        rows = places + start
        texts = self._table.queries(rows)
        raw = encode(self._encoder, texts, self._batch_size, "queries")
        queries = Queries(raw, normalize_rows(raw) if self._similarity == "cosine" else raw)
        window = self._look(rows, queries, existing, places)
        own, positives = self._score_positives(rows, queries, texts)
        if self._reranker is not None:
            self._rerank(window, texts)
        chosen = self._choose(rows, window, positives)
        made.positives[places] = own
        self._take(places, rows, window, chosen, existing, made)

    def _look(
        self, rows: np.ndarray, queries: Queries, existing: Existing, places: np.ndarray
    ) -> Window:
        """Search for the passages of the ranks that are asked for."""
        window = Window(len(rows), self._scopes.num_columns, self._options.ranks)
        codes = self._table.language_codes[rows]
        for items, column, languages in self._scopes.searches(codes):
            total = self._scopes.count(languages)
            depth = min(self._options.depth + _SPARE, total)
            while len(items):
                unfinished = []
                step = max(1, PASSAGES_AT_A_TIME // depth)
                for first in range(0, len(items), step):
                    some = items[first : first + step]
                    found = self._candidates.search(queries.take(some), depth, languages)
                    ranks, known = self._rank(rows[some], places[some], found, existing)
                    complete = (ranks.max(axis=1) >= self._options.depth) | (depth >= total)
                    complete |= found.numbers[:, -1] < 0
                    unfinished.append(some[~complete])
                    self._put(window, column, some, complete, found, ranks)
                    self._count_answers(rows[some[complete]], known[complete])
                items = np.concatenate(unfinished)
                depth = min(4 * depth, total)
        return window

    def _rank(
        self, rows: np.ndarray, places: np.ndarray, found: Found, existing: Existing
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranks of what was found, 0 for what is left out, and which are answers."""
        there = found.numbers >= 0
        codes = self._candidates.codes[found.numbers]
        passages = np.where(there, self._candidates.passages[found.numbers], -1)
        known = self._answers.are_known(rows, passages)
        left_out = known | existing.among(places, codes)
        return rank_others(found.numbers, codes, left_out), known
