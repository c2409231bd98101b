"""Searches by an index of FAISS, its candidates compared again by the vectors that the store keeps.

Rows that were added after the index was made are compared exactly, and so are all where few rows
may be found, and for queries of which the index finds too few. So each query has k hits wherever
there are that many rows to find.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.retrieval.exact_search import Hits
from hybrid_fast.retrieval.stores.faiss.exact import best, first_of, search_rows
from hybrid_fast.retrieval.stores.faiss.index import FaissIndex, make_index
from hybrid_fast.retrieval.stores.faiss.kinds import IndexPlan
from hybrid_fast.retrieval.stores.faiss.vectors import Vectors
from hybrid_fast.retrieval.stores.recall import (
    RECALL_DEPTH,
    RECALL_QUERIES,
    TRUTH_DEPTH,
    mean_recall,
)

logger = logging.getLogger(__name__)
# With a filter that leaves no more rows than this, they are compared exactly.
EXACT_ROWS = 2**15
_CANDIDATE_BYTES = 64 * 2**20  # of vectors that are compared again at a time
_ADDED_ROWS = 2**14  # to an index at a time
_SEED = 0
_QUIET: dict[str, Any] = {"delay": 2, "disable": None, "leave": False}


@dataclass(frozen=True)
class IndexSearch:
    """An index and how it is searched.

    Attributes:
        index: of the first rows.
        factory: string that made it.
        effort: of a search.
        refine: candidates of a hit that are compared again; 0 for none.
        recall: recall@10 that was measured at this effort.
    """

    index: FaissIndex
    factory: str
    effort: int
    refine: int
    recall: float = 0.0

    def __str__(self) -> str:
        effort = f", {self.index.effort_name} {self.effort}" if self.index.effort_name else ""
        refined = f", {self.refine} candidates a hit compared again" if self.refine else ""
        return f"{self.factory}{effort}{refined}"

    def to_dict(self) -> dict[str, Any]:
        """Return what is kept beside the file of the index."""
        names = ("factory", "effort", "refine", "recall")
        return {name: getattr(self, name) for name in names}

    def search(
        self, vectors: Vectors, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> Hits:
        """Return the k rows with the highest inner products, probably, best first.

        Args:
            vectors: of all rows.
            queries: float32 (n, D).
            k: number of hits; all rows that may be found if there are fewer.
            allowed: rows that may be found, bool (number of rows,); default all.
        """
        first = len(self.index)
        head = None if allowed is None else allowed[:first]
        few = EXACT_ROWS if head is not None else 0
        permitted = first if head is None else int(head.sum())
        if not len(queries) or permitted <= max(few, 2 * k):
            return search_rows(vectors, queries, k, allowed)
        hits = self._search_index(vectors, queries, k, head)
        short = np.flatnonzero(hits.rows[:, -1] < 0)
        if short.size:
            found = search_rows(vectors, queries[short], k, head, end=first)
            hits.rows[short], hits.scores[short] = found
        if len(vectors) > first:
            hits = best(hits, search_rows(vectors, queries, k, allowed, first), k)
        return hits

    def _search_index(
        self, vectors: Vectors, queries: np.ndarray, k: int, allowed: np.ndarray | None
    ) -> Hits:
        depth = min(k * max(self.refine, 1), len(self.index))
        step = max(1, _CANDIDATE_BYTES // (4 * vectors.dimension * depth))
        parts = []
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            rows, scores = self.index.search(some, depth, self.effort, allowed)
            if self.refine:
                scores = _compare(vectors, some, rows)
            parts.append(first_of(rows, scores, k))
        return Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Tuning:
    """What the effort of searches is chosen for.

    Attributes:
        target: recall@10 to reach.
        queries: such as will be asked, ready for inner products, float32 (n, D); where there are
            none rows are drawn.
    """

    target: float
    queries: np.ndarray


def build_index(
    vectors: Vectors, plan: IndexPlan, alive: np.ndarray, tuning: Tuning
) -> IndexSearch:
    """Make an index of all rows, and choose the effort of its searches.

    Args:
        vectors: of the rows.
        plan: what to make.
        alive: rows that are not deleted, bool (number of rows,).
        tuning: what the effort is chosen for.

    Raises:
        ValueError: there are too few rows to fit it to.
    """
    index = make_index(plan.factory, vectors.dimension)
    drawn = np.random.default_rng(_SEED).choice(len(vectors), plan.sample, replace=False)
    index.train(vectors.take(np.sort(drawn)))
    return extend_index(IndexSearch(index, plan.factory, 1, plan.refine), vectors, alive, tuning)


def extend_index(
    made: IndexSearch, vectors: Vectors, alive: np.ndarray, tuning: Tuning
) -> IndexSearch:
    """Add the rows that an index does not have yet, and choose the effort of its searches anew."""
    total, first = len(vectors), len(made.index)
    with tqdm(desc=made.factory, total=total, initial=first, unit="vector", **_QUIET) as bar:
        for block in vectors.blocks(first, rows=_ADDED_ROWS):
            made.index.add(block)
            bar.update(len(block))
    return tune(made, vectors, alive, tuning)


def tune(made: IndexSearch, vectors: Vectors, alive: np.ndarray, tuning: Tuning) -> IndexSearch:
    """Return an index with the least effort that reaches a recall, or else the most.

    Args:
        made: the index.
        vectors: of all rows, those that the index does not have yet among them.
        alive: rows that are not deleted, bool (number of rows,).
        tuning: what the effort is chosen for.
    """
    alive, queries = alive[: len(made.index)], tuning.queries
    allowed, of_rows = None if alive.all() else alive, not len(queries)
    if alive.sum() < 1 + of_rows:  # there is nothing to find
        return made
    if of_rows:
        rows = np.random.default_rng(_SEED + 1).permutation(np.flatnonzero(alive))
        queries = vectors.take(np.sort(rows[:RECALL_QUERIES]))
    true = search_rows(vectors, queries, TRUTH_DEPTH, allowed, end=len(made.index))
    for effort in _efforts(made.index.least, made.index.most):
        made = replace(made, effort=effort)
        found = made._search_index(vectors, queries, RECALL_DEPTH + of_rows, allowed)
        recall = mean_recall(found.rows.tolist(), true.rows.tolist(), true.scores, of_rows=of_rows)
        made = replace(made, recall=recall)
        if made.recall >= tuning.target:
            return made
    logger.warning(
        "searches by %s find %.3f of the true first 10, not %g: choose another index, or a larger "
        "refine",
        made,
        made.recall,
        tuning.target,
    )
    return made


def _efforts(least: int, most: int) -> list[int]:
    """Return powers of 2, and halfway between them, from `least` to `most`, and `most`."""
    powers = [2**power for power in range(most.bit_length())]
    steps = sorted({*powers, *(3 * power for power in powers)})
    return [*(step for step in steps if least <= step < most), most]


def _compare(vectors: Vectors, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the scores of rows, int64 (n, depth), by the vectors that are kept; float32."""
    candidates = vectors.take(np.maximum(rows, 0).reshape(-1))
    candidates = candidates.reshape(*rows.shape, vectors.dimension)
    scores = np.matmul(candidates, queries[:, :, None])[:, :, 0]
    return np.where(rows >= 0, scores, np.float32(-np.inf))
