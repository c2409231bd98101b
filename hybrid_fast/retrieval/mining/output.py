"""The mined table, written part by part: in memory while it is small, then in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hybrid_fast.common.disk import writing
from hybrid_fast.data import AlignedTable
from hybrid_fast.data.columns import SCHEMA, SCORES, schema_of

# Parts beyond this many bytes go to a file, which is memory-mapped.
IN_MEMORY_BYTES = 2**28


class MinedRows(NamedTuple):
    """What was mined for some rows.

    Attributes:
        rows: which, int64 (n,).
        negatives: of each, best first.
        scores: of these; None where one is not known.
        positives: score of each row's own passage, NaN where it has none, float32 (n,).
    """

    rows: np.ndarray
    negatives: Sequence[list[str]]
    scores: Sequence[list[float | None]]
    positives: np.ndarray


class TableWriter:
    """Puts the parts of a mined table together."""

    def __init__(self, table: AlignedTable, folder: Path) -> None:
        """Make one.

        Args:
            table: what is mined.
            folder: an existing one, for a file; when it is removed, the table lives on in the file
                as long as that is mapped.
        """
        self._rows = table.dataset.with_format("arrow")
        self._schema = schema_of([*table.dataset.column_names, *SCORES])
        self._path = folder / "mined.arrow"
        self._held: list[pa.RecordBatch] = []
        self._file: pa.RecordBatchStreamWriter | None = None

    def write(self, part: slice, mined: MinedRows) -> None:
        """Add the next rows of the table; those that were not mined stay as they are."""
        given = self._rows[part.start : part.stop]
        columns = {name: given[name] for name in given.column_names}
        places = mined.rows - part.start
        for name, values in (
            ("negatives", mined.negatives),
            ("negative_scores", mined.scores),
            ("positive_score", [None if np.isnan(x) else float(x) for x in mined.positives]),
        ):
            new = columns[name].to_pylist() if name in columns else [None] * len(given)
            for place, value in zip(places, values, strict=True):
                new[place] = value
            columns[name] = pa.array(new, SCHEMA.field(name).type)
        made = pa.table({name: columns[name] for name in self._schema.names}, schema=self._schema)
        self._held += made.to_batches()
        if self._file or sum(batch.nbytes for batch in self._held) > IN_MEMORY_BYTES:
            self._spill()

    def _spill(self) -> None:
        with writing(self._path):
            if self._file is None:
                self._file = pa.ipc.new_stream(self._path, self._schema)
            for batch in self._held:
                self._file.write_batch(batch)
        self._held = []

    def finish(self) -> AlignedTable:
        """Return the table of all parts."""
        if self._file is None:
            table = pa.Table.from_batches(self._held, self._schema)
        else:
            with writing(self._path):
                self._file.close()
            table = pa.ipc.open_stream(pa.memory_map(str(self._path))).read_all()
        return AlignedTable.concatenate([AlignedTable(Dataset(table))])
