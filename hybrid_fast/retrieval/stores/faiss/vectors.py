"""The vectors of a FAISS store: a matrix in a file, mapped into memory, to which rows are added.

Where the similarity is cosine, float32 vectors are normalised when they are added. Those in float16
are kept as they came and normalised in float32 whenever they are read: to round normalised ones
would round twice. Either way scores are those of the vectors that were given.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.stores.faiss.files import GrowingFile, as_bytes
from hybrid_fast.retrieval.vector_info import VectorInfo

BLOCK_BYTES = 128 * 2**20  # of float32 that are held or compared at a time


class Vectors:
    """Rows to append and to read as float32, ready for inner products.

    Attributes:
        file: the bytes, row after row.
        dimension: D.
        dtype: "float32" or "float16", of the file.
        block_rows: rows that are read at a time.
    """

    def __init__(self, file: GrowingFile, info: VectorInfo, dtype: str) -> None:
        self.file, self.dimension, self.dtype = file, info.dimension, np.dtype(dtype)
        self.block_rows = max(1, BLOCK_BYTES // (4 * self.dimension))
        self._cosine = info.similarity == "cosine"

    def __len__(self) -> int:
        return self.file.kept.size // (self.dimension * self.dtype.itemsize)

    def append(self, vectors: np.ndarray) -> None:
        """Add rows, float32 (n, D), as the model gave them.

        Raises:
            ValueError: a number is beyond the range of float16.
            OSError: they cannot be written.
        """
        if self.dtype == np.float32:
            kept = normalize_rows(vectors) if self._cosine else vectors
        else:
            with np.errstate(over="ignore"):
                kept = vectors.astype(self.dtype)
            if not np.isfinite(kept).all():
                raise ValueError("vectors are beyond the range of float16; keep float32")
        self.append_kept(kept)

    def append_kept(self, rows: np.ndarray) -> None:
        """Add rows as the file of another store keeps them, in its dtype."""
        self.file.append(as_bytes(rows))

    def kept(self) -> np.ndarray:
        """Return the rows as the file has them, (n, D), mapped."""
        return self.file.read().view(self.dtype).reshape(-1, self.dimension)

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return some rows, float32 (m, D); a slice of float32 is not copied."""
        taken = self.kept()[rows]
        if self.dtype == np.float32:
            return taken
        taken = taken.astype(np.float32)
        return normalize_rows(taken) if self._cosine else taken

    def blocks(
        self, first: int = 0, end: int | None = None, rows: int | None = None
    ) -> Iterator[np.ndarray]:
        """Yield rows from `first` to before `end`, float32 (m, D), so many at a time."""
        end, step = len(self) if end is None else end, rows or self.block_rows
        for start in range(first, end, step):
            yield self.take(slice(start, min(start + step, end)))
