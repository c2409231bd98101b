"""Which of the passages found for an item become its negatives: ranks, margins, sampling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hybrid_fast.retrieval.mining.candidates import Found
from hybrid_fast.retrieval.mining.options import MiningOptions


class RankedPassages:
    """The passages of the ranks that are asked for, of n items and some sets of languages.

    Attributes:
        numbers: int64 (n, num_sets, width), -1 where there is none.
        scores: float32 (n, num_sets, width), minus infinity where there is none.
        last: the last rank.
    """

    def __init__(self, num_items: int, num_sets: int, ranks: tuple[int, int]) -> None:
        self._first, self.last = ranks
        shape = num_items, num_sets, self.last - self._first + 1
        self.numbers = np.full(shape, -1, np.int64)
        self.scores = np.full(shape, -np.inf, np.float32)

    def put(self, places: np.ndarray, column: int, found: Found, ranks: np.ndarray) -> None:
        """Take what was found for some items.

        Args:
            places: of the items, (m,).
            column: of the set of languages.
            found: of m queries.
            ranks: rank of each that was found, 0 for one that is left out, int64 (m, k).
        """
        slots = ranks - self._first
        item, hit = np.nonzero((slots >= 0) & (slots < self.numbers.shape[2]))
        where = places[item], column, slots[item, hit]
        self.numbers[where] = found.numbers[item, hit]
        self.scores[where] = found.scores[item, hit]

    @property
    def filled(self) -> np.ndarray:
        """Whether there is a passage, bool (n, num_sets, width)."""
        return self.numbers >= 0


def rank_others(numbers: np.ndarray, codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the rank of each passage among those that are no answers, each text once.

    Args:
        numbers: of the passages, best first, -1 beyond the last, (n, k).
        codes: hashes of their texts, int64 (n, k).
        known: which are answers, bool (n, k).

    Returns:
        int64 (n, k), from 1; 0 for answers, texts that came before, and where there is none.
    """
    others = (numbers >= 0) & ~known
    # Equal texts stand together, the first one first, what is no other behind.
    order = np.lexsort((codes, ~others))
    sorted_codes, sorted_others = (np.take_along_axis(each, order, 1) for each in (codes, others))
    again = np.zeros(others.shape, np.bool_)
    again[:, 1:] = (np.diff(sorted_codes, axis=1) == 0) & sorted_others[:, 1:]
    repeated = np.zeros(others.shape, np.bool_)
    np.put_along_axis(repeated, order, again, axis=1)
    others &= ~repeated
    return np.where(others, others.cumsum(axis=1), 0)


def refused(
    scores: np.ndarray, positives: np.ndarray, options: MiningOptions
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each rule of scores that is asked for, and which passages it leaves out.

    Args:
        scores: float32 (n, num_sets, width).
        positives: the score that each item's negatives are held against, NaN without one,
            float32 (n,).
        options: what is asked for.
    """
    scores = scores.astype(np.float64)
    positives = positives.astype(np.float64)[:, None, None]
    if options.has_margin:
        yield "no_positive", np.isnan(positives)
    if options.margin is not None:
        yield "margin", scores > positives - options.margin
    if options.relative_margin is not None:
        # Below the positive by this share of its size, also where that is negative.
        yield (
            "relative_margin",
            scores > positives - (1 - options.relative_margin) * np.abs(positives),
        )
    if options.max_score is not None:
        yield "max_score", scores > options.max_score
    if options.min_score is not None:
        yield "min_score", scores < options.min_score


def choose(
    kept: np.ndarray, scores: np.ndarray, rows: np.ndarray, options: MiningOptions
) -> np.ndarray:
    """Return the places of the negatives of each item, highest scores first.

    Args:
        kept: what may become a negative, bool (n, num_sets, width).
        scores: float32 (n, num_sets, width).
        rows: of the items in the table, by which what is drawn at random is the same in whatever
            parts a table is mined, int64 (n,).
        options: what is asked for.

    Returns:
        int64 (n, num_negatives), places among num_sets * width, -1 where there are too few.
    """
    wanted = -scores.astype(np.float64)  # the lowest first
    if options.sampling == "random":
        for item, row in enumerate(rows):
            wanted[item] = np.random.default_rng([options.seed, int(row)]).random(wanted.shape[1:])
    wanted[~kept] = np.inf
    num_items = len(rows)
    # The first of each set of languages, the second of each, ...: sets are then equally large.
    turns = np.argsort(np.argsort(wanted, axis=2, kind="stable"), axis=2).reshape(num_items, -1)
    wanted, flat_kept = (each.reshape(num_items, -1) for each in (wanted, kept))
    turns = np.where(flat_kept, turns if options.balanced else 0, np.iinfo(np.int64).max)
    chosen = np.lexsort((wanted, turns))[:, : options.num_negatives]
    flat_scores = scores.reshape(num_items, -1)
    is_kept = np.take_along_axis(flat_kept, chosen, axis=1)
    chosen = np.where(is_kept, chosen, -1)
    ordered = np.where(is_kept, -np.take_along_axis(flat_scores, chosen, axis=1), np.inf)
    order = np.lexsort((chosen, ordered))
    return np.take_along_axis(chosen, order, axis=1)
