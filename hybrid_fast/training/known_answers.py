"""Right answers that a query may meet among its negatives, which the loss leaves out.

The batch plan keeps questions with a text in common apart. What is left are answers of a query that
no example of the batch takes: hard negatives of any row that are answers to it, and passages of
others that a row outside the batch gives as an answer to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybrid_fast.data import AlignedTable, TokenStore
from hybrid_fast.data.text_ids import query_text_ids

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KnownAnswers:
    """The passage texts that answer the query of a row: those of its group and of equal queries.

    Only texts that others may meet are kept: hard negatives, and texts of several groups.

    Attributes:
        groups: group of each row, int64 (n,).
        queries: number of each row's query text, int64 (n,).
        of_group: numbers of the texts of each group.
        of_query: numbers of the texts of each query.
    """

    groups: Integers
    queries: Integers
    of_group: _Lists
    of_query: _Lists

    @classmethod
    def of_table(cls, table: AlignedTable, passages: TokenStore) -> KnownAnswers | None:
        """Return those of a table; None where no query can meet an answer of its own.

        Args:
            table: the items.
            passages: the token store of its passages.
        """
        texts, groups = passages.rows, table.group_codes
        met = np.zeros(len(passages.tokens), np.bool_)
        met[passages.negatives] = True
        met[_of_several(texts, groups)] = True
        (rows,) = np.nonzero((texts >= 0) & met[texts])
        if not len(rows):
            return None
        ids = query_text_ids(table.text_column("query", slice(0, len(table))))
        queries = np.unique(ids, return_inverse=True)[1]
        asked = rows[table.has_query[rows]]
        return cls(
            groups,
            queries,
            _Lists.of(groups[rows], texts[rows], int(groups.max()) + 1),
            _Lists.of(queries[asked], texts[asked], int(queries.max()) + 1),
        )

    def among(self, columns: Integers, rows: Integers, positives: Integers) -> Integers:
        """Return which columns are answers to which queries, but for each query's positive.

        Args:
            columns: number of each column's text, int64 (N,).
            rows: of the queries, int64 (B,).
            positives: column of each query's positive, int64 (B,).

        Returns:
            (query, column), int64 (2, k), in any order, a pair once or several times.
        """
        by_group, of_group = self.of_group.take(self.groups[rows])
        by_query, of_query = self.of_query.take(self.queries[rows])
        queries, answers = (
            np.concatenate([by_group, by_query]),
            np.concatenate([of_group, of_query]),
        )
        order = columns.argsort(kind="stable")
        starts = np.searchsorted(columns, answers, "left", sorter=order)
        counts = np.searchsorted(columns, answers, "right", sorter=order) - starts
        found, within = _spread(counts)
        query, column = queries[found], order[starts[found] + within]
        return np.stack([query, column])[:, column != positives[query]]


@dataclass(frozen=True)
class _Lists:
    """A list of numbers for each key; that of key k is `values[offsets[k]:offsets[k + 1]]`."""

    offsets: Integers
    values: Integers

    @classmethod
    def of(cls, keys: Integers, values: Integers, num_keys: int) -> _Lists:
        counts = np.bincount(keys, minlength=num_keys)
        return cls(np.concatenate([[0], counts.cumsum()]), values[keys.argsort(kind="stable")])

    def take(self, keys: Integers) -> tuple[Integers, Integers]:
        """Return the lists of some keys, concatenated: the position of its key, and each value."""
        positions, within = _spread(self.offsets[keys + 1] - self.offsets[keys])
        return positions, self.values[self.offsets[keys[positions]] + within]


def _of_several(texts: Integers, groups: Integers) -> Integers:
    """Return the numbers of texts that several groups have."""
    order = texts.argsort(kind="stable")
    texts, groups = texts[order], groups[order]
    again = (texts[1:] == texts[:-1]) & (groups[1:] != groups[:-1]) & (texts[1:] >= 0)
    return texts[1:][again]


def _spread(counts: Integers) -> tuple[Integers, Integers]:
    """Return each position as often as it counts, and the numbers from 0 within it."""
    positions = np.repeat(np.arange(len(counts)), counts)
    return positions, np.arange(len(positions)) - np.repeat(counts.cumsum() - counts, counts)
