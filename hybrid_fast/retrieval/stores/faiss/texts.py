"""Ids and texts of the rows of a FAISS store: Arrow record batches in a file, mapped into memory.

The file is an Arrow stream without an end: its schema, then a batch for each time rows were added.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from hybrid_fast.retrieval.stores.faiss.files import GrowingFile

SCHEMA = pa.schema([("id", pa.large_string()), ("text", pa.large_string())])


class RowTexts:
    """Ids and texts by row.

    Attributes:
        file: the stream.
    """

    def __init__(self, file: GrowingFile) -> None:
        self.file = file
        self._read_to = -1
        self._batches: list[pa.RecordBatch] = []
        self._starts = np.zeros(1, np.int64)

    def append(self, ids: Sequence[str], texts: Sequence[str | None] | None) -> None:
        """Add rows.

        Raises:
            OSError: they cannot be written.
        """
        if self.file.kept.size == 0:
            self.file.append(memoryview(SCHEMA.serialize()))
        text = pa.nulls(len(ids), pa.large_string()) if texts is None else texts
        columns = [pa.array(ids, pa.large_string()), pa.array(text, pa.large_string())]
        batch = pa.record_batch(columns, schema=SCHEMA)
        self.file.append(memoryview(batch.serialize()))

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """Return the ids of rows, objects of the shape of `rows`."""
        return self._take("id", rows)

    def texts(self, rows: np.ndarray) -> np.ndarray:
        """Return the texts of rows, None where there is none, objects of the shape of `rows`."""
        return self._take("text", rows)

    def __len__(self) -> int:
        self._read_batches()
        return int(self._starts[-1])

    def _take(self, column: str, rows: np.ndarray) -> np.ndarray:
        found = np.empty(rows.shape, object)
        if not rows.size:  # of adding new ids, which would read all batches each time
            return found
        self._read_batches()
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(numbers):
            here = numbers == number
            inner = pa.array(rows[here] - self._starts[number])
            taken = self._batches[number].column(column).take(inner)
            found[here] = taken.to_numpy(zero_copy_only=False)
        return found

    def _read_batches(self) -> None:
        if self._read_to != self.file.kept.size:
            self._read_to = self.file.kept.size
            self._batches = []
            if self._read_to:
                with pa.ipc.open_stream(pa.py_buffer(self.file.read())) as stream:
                    self._batches = list(stream)
            self._starts = np.cumsum([0, *(len(each) for each in self._batches)], dtype=np.int64)
