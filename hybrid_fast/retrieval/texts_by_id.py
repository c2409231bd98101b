"""Texts of a corpus by their ids, for hits of a store that keeps none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from hybrid_fast.data.text_ids import text_ids
from hybrid_fast.retrieval.texts import store_texts


class TextsById:
    """Texts that are found by id, in memory up to 256 MiB and else in a mapped file.

    Of each text 12 bytes stay in memory (16 of more than 4,294,967,295 texts): a digest of its id,
    in order, and its row.
    """

    def __init__(
        self, corpus: Iterable[tuple[str, str, str]], folder: str | Path | None = None
    ) -> None:
        """Read a corpus once.

        Args:
            corpus: id, language and text of each, as `open_corpus` gives them; ids differ.
            folder: for the mapped file, which has no name in it and goes with the texts; default
                that for temporary files (`$TMPDIR`).

        Raises:
            OSError: the file cannot be written.
            ValueError: as the corpus.
        """
        stored = store_texts(corpus, folder)
        self._ids, self._texts = stored["id"], stored["text"]
        digests = text_ids(self._ids)
        rows = np.argsort(digests)
        self._digests = digests[rows]
        self._rows = rows.astype(np.min_scalar_type(len(rows)))

    def __len__(self) -> int:
        return len(self._rows)

    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """Return the texts of ids, None where there is no such id."""
        digests = text_ids(pa.array(ids, pa.large_string()))
        first = np.searchsorted(self._digests, digests, "left").tolist()
        end = np.searchsorted(self._digests, digests, "right").tolist()
        return [self._text(*each) for each in zip(ids, first, end, strict=True)]

    def _text(self, wanted: str, first: int, end: int) -> str | None:
        """Return the text of an id, whose digest is at some places, more than one by chance."""
        for row in self._rows[first:end].tolist():
            if self._ids[row].as_py() == wanted:
                return self._texts[row].as_py()
        return None
