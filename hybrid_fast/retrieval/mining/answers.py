"""Which passages answer which questions of a table, and are therefore no negatives of them.

Groups that have a query in common, in any language, are one question: whatever answers one of them
answers the other. Rows whose passages have an id or a text in common have one passage, also where a
chain of such links connects them. So the answers of a question are known in all its languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hybrid_fast.data import AlignedTable
from hybrid_fast.data.text_ids import query_text_ids, text_ids

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
_ROWS_AT_A_TIME = 2**18  # whose texts are held at a time


@dataclass(frozen=True)
class Answers:
    """The distinct passages of a table, and which questions they answer.

    Passages are distinct by text and language, and numbered in the order of their first rows. At
    most 56 bytes a row are held.

    Attributes:
        questions: number of each row's question, int32 (n,).
        texts: number of each row's distinct passage, -1 without one, int32 (n,).
        first_rows: the first row of each distinct passage, int64 (m,).
        codes: hash of the text of each distinct passage, int64 (m,).
        passages: number of what each distinct passage is a translation or a copy of, int32 (m,).
        num_languages: of the table.
    """

    questions: Numbers
    texts: Numbers
    first_rows: Integers
    codes: Integers
    passages: Numbers
    num_languages: int
    _known: Integers  # question and passage as one number, sorted
    _keys: Integers  # question and language of each row with a passage as one number, sorted
    _positives: Numbers  # the distinct passage of each of these

    @classmethod
    def of_table(cls, table: AlignedTable) -> Answers:
        """Find those of a table."""
        query_codes = _text_codes(table, "query")
        questions = _connected(table.group_codes, query_codes)
        row_codes = _text_codes(table, "passage")
        rows = np.flatnonzero(row_codes >= 0)
        row_passages = _connected(table.passage_codes[rows], row_codes[rows])
        languages = table.language_codes
        texts = np.full(len(table), -1, np.int32)
        first_rows, texts[rows] = _number_texts(rows, row_codes, languages)
        codes = row_codes[first_rows]
        passages = np.empty(len(first_rows), np.int32)
        passages[texts[rows]] = row_passages
        known = _known_keys(questions, query_codes, texts, codes, passages)
        keys = questions[rows].astype(np.int64) * len(table.languages) + languages[rows]
        order = np.argsort(keys, kind="stable")
        return cls(
            questions,
            texts,
            first_rows,
            codes,
            passages,
            len(table.languages),
            known,
            keys[order],
            texts[rows][order],
        )

    def are_known(self, rows: Integers, passages: npt.NDArray[np.integer]) -> np.ndarray:
        """Return which passages answer the question of each row, bool (n, k).

        Args:
            rows: int64 (n,).
            passages: as in the attribute, -1 for one that the table does not have, (n, k).
        """
        questions = self.questions[rows].astype(np.int64)[:, None]
        keys = questions * _num_passages(self.passages) + passages
        return (passages >= 0) & (_places(self._known, keys) >= 0)

    def positives(self, rows: Integers, languages: Numbers) -> tuple[Integers, Numbers]:
        """Return the passages that answer rows, in the language of each; in any if there are none.

        Args:
            rows: int64 (n,).
            languages: number of the language of each, int32 (n,).

        Returns:
            Places among `rows`, ascending, and the distinct passage of each, (p,).
        """
        questions = self.questions[rows].astype(np.int64) * self.num_languages
        first, last = questions + languages, questions + languages + 1
        starts, stops = (np.searchsorted(self._keys, each) for each in (first, last))
        none = starts == stops
        starts[none] = np.searchsorted(self._keys, questions[none])
        stops[none] = np.searchsorted(self._keys, questions[none] + self.num_languages)
        counts = stops - starts
        places = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(places)) - np.repeat(counts.cumsum() - counts, counts)
        return places, self._positives[starts[places] + within]

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return sum(each.nbytes for each in vars(self).values() if isinstance(each, np.ndarray))


class KnownPassages:
    """Finds the passages of a table among texts of elsewhere, by text and by id."""

    def __init__(self, of_texts: _Lookup, of_ids: _Lookup) -> None:
        self._of_texts, self._of_ids = of_texts, of_ids

    @classmethod
    def of_table(cls, table: AlignedTable, answers: Answers) -> KnownPassages:
        """Take the texts of a table, and the ids that its data set gave to passages."""
        rows, codes = _given_ids(table)
        passages = answers.passages[answers.texts[rows]]
        return cls(_Lookup.of(answers.codes, answers.passages), _Lookup.of(codes, passages))

    def find(self, ids: pa.Array, codes: Integers) -> Numbers:
        """Return the passage of each text, -1 where the table has none such, int32 (n,).

        Args:
            ids: n ids.
            codes: hashes of n texts, int64 (n,).
        """
        found = self._of_texts.find(codes)
        return np.where(found >= 0, found, self._of_ids.find(text_ids(ids)))


@dataclass(frozen=True)
class _Lookup:
    """Finds passages by hashes.

    Attributes:
        codes: hashes, sorted, int64 (c,).
        passages: the passage of each, int32 (c,).
    """

    codes: Integers
    passages: Numbers

    @classmethod
    def of(cls, codes: Integers, passages: Numbers) -> _Lookup:
        codes, first = np.unique(codes, return_index=True)
        return cls(codes, passages[first])

    def find(self, codes: Integers) -> Numbers:
        """Return the passage of each hash, -1 for one that is not known, int32 (n,)."""
        places = _places(self.codes, codes)
        found = np.full(codes.shape, -1, np.int32)
        found[places >= 0] = self.passages[places[places >= 0]]
        return found


def hash_texts(texts: pa.Array | pa.ChunkedArray) -> Integers:
    """Return hashes of texts, equal where a table takes them for one passage, int64 (n,)."""
    if isinstance(texts, pa.Array):
        texts = pa.chunked_array([texts])
    return query_text_ids(texts)


def _text_codes(table: AlignedTable, side: str) -> Integers:
    """Return the hash of the text of each row, -1 without one, int64 (n,)."""
    parts = [query_text_ids(table.text_column(side, part)) for part in _slices(len(table))]
    return np.concatenate(parts)


def _slices(num_rows: int) -> Iterator[slice]:
    for start in range(0, num_rows, _ROWS_AT_A_TIME):
        yield slice(start, min(start + _ROWS_AT_A_TIME, num_rows))


def _connected(names: Integers, codes: Integers) -> Numbers:
    """Return one number for entries that equal names, or equal codes, connect, int32 (n,).

    Args:
        names: numbers, not all of which need be used, int64 (n,).
        codes: int64 (n,); -1 connects nothing.
    """
    if not len(names):
        return np.empty(0, np.int32)
    names = np.unique(names, return_inverse=True)[1]
    has_code = codes >= 0
    codes = np.unique(codes[has_code], return_inverse=True)[1]
    num_names = int(names.max()) + 1
    size = num_names + int(codes.max(initial=-1)) + 1
    edges = names[has_code].astype(np.int32), (num_names + codes).astype(np.int32)
    graph = coo_array((np.ones(len(codes), np.int8), edges), shape=(size, size))
    _, components = connected_components(graph, directed=False)
    return np.unique(components[:num_names], return_inverse=True)[1].astype(np.int32)[names]


def _number_texts(rows: Integers, codes: Integers, languages: Numbers) -> tuple[Integers, Numbers]:
    """Return the first row of each text in a language, and the number of each row's, (len(rows),).

    Numbers follow the order of the first rows.
    """
    order = np.lexsort((rows, languages[rows], codes[rows]))
    sorted_rows = rows[order]
    is_new = np.ones(len(rows), np.bool_)
    is_new[1:] = (np.diff(codes[sorted_rows]) != 0) | (np.diff(languages[sorted_rows]) != 0)
    first_rows = np.sort(sorted_rows[is_new])
    numbers = np.searchsorted(first_rows, sorted_rows[is_new]).astype(np.int32)
    of_rows = np.empty(len(rows), np.int32)
    of_rows[order] = numbers[np.cumsum(is_new) - 1]
    return first_rows, of_rows


def _known_keys(
    questions: Numbers, query_codes: Integers, texts: Numbers, codes: Integers, passages: Numbers
) -> Integers:
    """Return question and passage, as one number, of all that answer each other, sorted.

    A passage that is the query itself is an answer too.
    """
    size = _num_passages(passages)
    rows = np.flatnonzero(texts >= 0)
    given = questions[rows].astype(np.int64) * size + passages[texts[rows]]
    order = np.argsort(codes, kind="stable")
    places = _places(codes[order], query_codes)
    asked = np.flatnonzero(places >= 0)
    copies = questions[asked].astype(np.int64) * size + passages[order[places[asked]]]
    return np.unique(np.concatenate([given, copies]))


def _places(known: Integers, values: Integers) -> Integers:
    """Return the place of each value among sorted ones, -1 for one that is not among them."""
    if not len(known):
        return np.full(values.shape, -1, np.int64)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[places] == values, places, -1)


def _num_passages(passages: Numbers) -> int:
    return int(passages.max(initial=0)) + 1


def _given_ids(table: AlignedTable) -> tuple[Integers, Integers]:
    """Return rows whose passage was given an id, and hashes of the ids without their source."""
    ids = table.dataset.with_format("arrow")
    rows, codes = [], []
    for part in _slices(len(table)):
        columns = ids[part.start : part.stop].select(["passage_id", "source"])
        given = pc.fill_null(pc.invert(pc.starts_with(columns["passage_id"], "text:")), False)
        columns = columns.filter(given)
        places = np.flatnonzero(given.to_numpy()) + part.start
        for source in pc.unique(columns["source"]).to_pylist():
            of_source = pc.equal(columns["source"], source)
            names = columns["passage_id"].filter(of_source)
            rows.append(places[of_source.to_numpy()])
            codes.append(text_ids(pc.utf8_slice_codeunits(names, len(source) + 1)))
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *rows]), np.concatenate([empty, *codes])
