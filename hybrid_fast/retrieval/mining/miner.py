"""Mining of some rows of a table at a time: search, scores of positives, choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.data import AlignedTable
from hybrid_fast.models.similarity import Similarity
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.encoders import Encoder
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.mining.answers import Answers
from hybrid_fast.retrieval.mining.candidates import Candidates, Queries
from hybrid_fast.retrieval.mining.existing import Existing
from hybrid_fast.retrieval.mining.looking import PASSAGES_AT_A_TIME, Looking
from hybrid_fast.retrieval.mining.options import MiningOptions
from hybrid_fast.retrieval.mining.output import MinedRows
from hybrid_fast.retrieval.mining.passages import PassageVectors, TablePassages
from hybrid_fast.retrieval.mining.report import MiningReport
from hybrid_fast.retrieval.mining.scopes import Scopes
from hybrid_fast.retrieval.mining.selection import Window, choose, refused
from hybrid_fast.retrieval.reranking import Reranker, score_pairs
from hybrid_fast.retrieval.shared_work import hides_progress

_MOST_ROWS = 8192  # that are mined at a time


@dataclass(frozen=True)
class Means:
    """What scores a table's texts.

    Attributes:
        encoder: of queries.
        similarity: of their vectors to those of passages.
        batch_size: texts that the models take at a time; None leaves it to them.
        vectors: of the distinct passages of the table.
        reranker: gives the scores in place of the vectors, if there is one.
    """

    encoder: Encoder
    similarity: Similarity
    batch_size: int | None
    vectors: PassageVectors
    reranker: Reranker | None = None

    def encode(self, texts: list[str]) -> Queries:
        """Return the vectors of queries."""
        raw = encode(self.encoder, texts, self.batch_size, "queries")
        return Queries(raw, normalize_rows(raw) if self.similarity == "cosine" else raw)


class Miner:
    """Finds the negatives of the rows of a table.

    Attributes:
        report: what was found so far.
    """

    def __init__(
        self,
        table: AlignedTable,
        options: MiningOptions,
        answers: Answers,
        candidates: Candidates,
        scopes: Scopes,
        means: Means,
    ) -> None:
        self._table, self._options, self._answers = table, options, answers
        self._candidates, self._scopes, self._means = candidates, scopes, means
        self.report = MiningReport.of_languages(table.languages)

    def mine(self) -> Iterator[tuple[slice, MinedRows]]:
        """Yield parts of the table, in order, and what was mined for their rows."""
        first, last = self._options.ranks
        width = self._scopes.num_columns * (last - first + 1)
        step = max(1, min(_MOST_ROWS, PASSAGES_AT_A_TIME // width))
        with tqdm(
            total=len(self._table), desc="mine", delay=2, disable=hides_progress(), leave=False
        ) as progress:
            for start in range(0, len(self._table), step):
                part = slice(start, min(start + step, len(self._table)))
                yield part, self._mine_rows(self._rows_of(part))
                self._candidates.forget()
                progress.update(part.stop - part.start)

    def _rows_of(self, part: slice) -> np.ndarray:
        """Return the rows of a part that are to be mined, int64 (n,)."""
        rows = np.flatnonzero(self._table.has_query[part]) + part.start
        if self._options.existing == "keep":
            has_some = np.array([bool(each) for each in self._table.negatives(rows)], np.bool_)
            self.report.count_kept(self._languages(rows[has_some]))
            rows = rows[~has_some]
        return rows

    def _languages(self, rows: np.ndarray) -> np.ndarray:
        return self._table.language_codes[rows]

    def _mine_rows(self, rows: np.ndarray) -> MinedRows:
        if not len(rows):
            return MinedRows(rows, [], [], np.empty(0, np.float32))
        extends = self._options.existing == "extend"
        existing = Existing.of_rows(self._table, rows) if extends else None
        texts = self._table.queries(rows)
        queries = self._means.encode(texts)
        window = self._look(rows, queries, existing)
        own, positives = self._score_positives(rows, queries, texts)
        self._rerank(window, texts)
        chosen = self._choose(rows, window, positives)
        return self._made(rows, window, chosen, own, existing)

    def _look(self, rows: np.ndarray, queries: Queries, existing: Existing | None) -> Window:
        """Return the passages of the ranks that are asked for."""
        looking = Looking(rows, queries, self._answers, self._candidates, existing)
        window = Window(len(rows), self._scopes.num_columns, self._options.ranks)
        for scope in self._scopes.searches(self._languages(rows)):
            looking.fill(window, scope)
        self.report.count_left_out("answer", self._languages(rows), looking.left_out)
        return window

    def _score_positives(
        self, rows: np.ndarray, queries: Queries, texts: list[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of each row's own passage, and those that its negatives are held to.

        Returns:
            float32 (n,) each; NaN where there is no passage.
        """
        places, numbers = self._answers.positives(rows, self._languages(rows))
        own_numbers = self._answers.texts[rows]
        has_own = np.flatnonzero(own_numbers >= 0)
        all_places = np.concatenate([places, has_own])
        all_numbers = np.concatenate([numbers, own_numbers[has_own]])
        scores = self._score(queries, texts, all_places, all_numbers)
        lowest = np.full(len(rows), np.inf, np.float32)
        np.minimum.at(lowest, places, scores[: len(places)])
        lowest[np.isinf(lowest)] = np.nan
        own = np.full(len(rows), np.nan, np.float32)
        own[has_own] = scores[len(places) :]
        if self._options.positive == "lowest":
            return own, lowest
        return own, np.where(np.isnan(own), lowest, own)

    def _score(
        self, queries: Queries, texts: list[str], places: np.ndarray, numbers: np.ndarray
    ) -> np.ndarray:
        """Return the scores of pairs of a query and a passage of the table, float32 (p,)."""
        means = self._means
        if means.reranker is None:
            return means.vectors.score(queries.scaled, places, numbers)
        passages = TablePassages(self._table, self._answers).texts(numbers)
        return score_pairs(
            means.reranker, [texts[place] for place in places], passages, means.batch_size
        )

    def _rerank(self, window: Window, texts: list[str]) -> None:
        """Give all passages of a window the scores of the reranker, if there is one."""
        if self._means.reranker is None:
            return
        where = np.nonzero(window.filled)
        passages = self._candidates.texts(window.numbers[where])
        queries = [texts[place] for place in where[0]]
        window.scores[where] = score_pairs(
            self._means.reranker, queries, passages, self._means.batch_size
        )

    def _choose(self, rows: np.ndarray, window: Window, positives: np.ndarray) -> np.ndarray:
        """Return the places of the negatives in each row of a window, see `choose`."""
        kept = window.filled
        for rule, left_out in refused(window.scores, positives, self._options):
            counts = (kept & left_out).sum(axis=(1, 2))
            self.report.count_left_out(rule, self._languages(rows), counts)
            kept &= ~left_out
        chosen = choose(kept, window.scores, rows, self._options)
        scores = np.take_along_axis(window.scores.reshape(len(rows), -1), chosen, axis=1)
        self.report.count_items(
            self._languages(rows), positives, np.where(chosen >= 0, scores, np.nan)
        )
        return chosen

    def _made(
        self,
        rows: np.ndarray,
        window: Window,
        chosen: np.ndarray,
        own: np.ndarray,
        existing: Existing | None,
    ) -> MinedRows:
        """Return negatives as texts, after those that the rows had if these are extended."""
        items, columns = np.nonzero(chosen >= 0)
        numbers, scores = (
            each.reshape(len(rows), -1)[items, chosen[items, columns]]
            for each in (window.numbers, window.scores)
        )
        found = self._candidates.languages(numbers)
        self.report.count_negatives(self._languages(rows)[items], found)
        negatives = [list(each) for each in existing.negatives] if existing else [[] for _ in rows]
        known = [list(each) for each in existing.scores] if existing else [[] for _ in rows]
        for item, text, score in zip(
            items, self._candidates.texts(numbers), scores.tolist(), strict=True
        ):
            negatives[item].append(text)
            known[item].append(score)
        return MinedRows(rows, negatives, known, own)
