"""Mining of some rows of a table at a time: search, scores of positives, choice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.data import AlignedTable
from hybrid_fast.retrieval.mining.answers import Answers
from hybrid_fast.retrieval.mining.candidates import Candidates, Queries
from hybrid_fast.retrieval.mining.existing import ExistingNegatives
from hybrid_fast.retrieval.mining.options import MiningOptions
from hybrid_fast.retrieval.mining.output import MinedRows
from hybrid_fast.retrieval.mining.rank_search import PASSAGES_AT_A_TIME, RankSearch
from hybrid_fast.retrieval.mining.report import MiningReport
from hybrid_fast.retrieval.mining.scoring import Scorer
from hybrid_fast.retrieval.mining.search_plan import SearchPlan
from hybrid_fast.retrieval.mining.selection import RankedPassages, choose, refused
from hybrid_fast.retrieval.shared_work import hides_progress

_MOST_ROWS = 8192  # that are mined at a time


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
        plan: SearchPlan,
        scorer: Scorer,
    ) -> None:
        self._table, self._options, self._answers = table, options, answers
        self._candidates, self._plan, self._scorer = candidates, plan, scorer
        self.report = MiningReport.of_languages(table.languages)

    def mine(self) -> Iterator[tuple[slice, MinedRows]]:
        """Yield parts of the table, in order, and what was mined for their rows."""
        first, last = self._plan.ranks
        width = self._plan.num_columns * (last - first + 1)
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
        existing = ExistingNegatives.of_rows(self._table, rows) if extends else None
        queries = self._scorer.encode(self._table.queries(rows))
        found = self._find(rows, queries, existing)
        own, positives = self._score_positives(rows, queries)
        self._scorer.rescore(found, queries, self._candidates)
        chosen = self._choose(rows, found, positives)
        return self._made(rows, found, chosen, own, existing)

    def _find(
        self, rows: np.ndarray, queries: Queries, existing: ExistingNegatives | None
    ) -> RankedPassages:
        """Return the passages of the ranks that are asked for."""
        found = RankedPassages(len(rows), self._plan.num_columns, self._plan.ranks)
        search = RankSearch(rows, queries, self._answers, self._candidates, existing, found)
        for each in self._plan.searches(self._languages(rows)):
            search.run(each)
        self.report.count_left_out("answer", self._languages(rows), search.left_out)
        return found

    def _score_positives(self, rows: np.ndarray, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of each row's own passage, and those that its negatives are held to.

        Returns:
            float32 (n,) each; NaN where there is no passage.
        """
        places, numbers = self._answers.positives(rows, self._languages(rows))
        own_numbers = self._answers.texts[rows]
        has_own = np.flatnonzero(own_numbers >= 0)
        all_places = np.concatenate([places, has_own])
        all_numbers = np.concatenate([numbers, own_numbers[has_own]])
        scores = self._scorer.score(queries, all_places, all_numbers)
        lowest = np.full(len(rows), np.inf, np.float32)
        np.minimum.at(lowest, places, scores[: len(places)])
        lowest[np.isinf(lowest)] = np.nan
        own = np.full(len(rows), np.nan, np.float32)
        own[has_own] = scores[len(places) :]
        if self._options.positive == "lowest":
            return own, lowest
        return own, np.where(np.isnan(own), lowest, own)

    def _choose(self, rows: np.ndarray, found: RankedPassages, positives: np.ndarray) -> np.ndarray:
        """Return the places of the negatives in each row of what was found, see `choose`."""
        kept = found.filled
        for rule, left_out in refused(found.scores, positives, self._options):
            counts = (kept & left_out).sum(axis=(1, 2))
            self.report.count_left_out(rule, self._languages(rows), counts)
            kept &= ~left_out
        chosen = choose(kept, found.scores, rows, self._options)
        scores = np.take_along_axis(found.scores.reshape(len(rows), -1), chosen, axis=1)
        self.report.count_items(
            self._languages(rows), positives, np.where(chosen >= 0, scores, np.nan)
        )
        return chosen

    def _made(
        self,
        rows: np.ndarray,
        found: RankedPassages,
        chosen: np.ndarray,
        own: np.ndarray,
        existing: ExistingNegatives | None,
    ) -> MinedRows:
        """Return negatives as texts, after those that the rows had if these are extended."""
        items, columns = np.nonzero(chosen >= 0)
        numbers, scores = (
            each.reshape(len(rows), -1)[items, chosen[items, columns]]
            for each in (found.numbers, found.scores)
        )
        self.report.count_negatives(
            self._languages(rows)[items], self._candidates.languages(numbers)
        )
        negatives = [list(each) for each in existing.negatives] if existing else [[] for _ in rows]
        known = [list(each) for each in existing.scores] if existing else [[] for _ in rows]
        for item, text, score in zip(
            items, self._candidates.texts(numbers), scores.tolist(), strict=True
        ):
            negatives[item].append(text)
            known[item].append(score)
        return MinedRows(rows, negatives, known, own)
