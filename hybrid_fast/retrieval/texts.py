"""Collections of texts in several languages, and the order of their embeddings."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_fast.common.disk import writing

# Texts beyond this many bytes go to a temporary file, which is memory-mapped.
IN_MEMORY_BYTES = 2**28
ROWS_PER_BATCH = 4096
_SCHEMA = pa.schema({"id": pa.string(), "lang": pa.string(), "text": pa.large_string()})


class Pool:
    """What is ranked, sorted by language.

    Attributes:
        ids: id of each member.
        languages: language codes, sorted.
        language_codes: int32 (n,), position in `languages` of each member, ascending.
    """

    def __init__(
        self, ids: Sequence[str], languages: tuple[str, ...], language_codes: np.ndarray
    ) -> None:
        self.ids = ids
        self.languages = languages
        self.language_codes = language_codes

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def language_starts(self) -> np.ndarray:
        """First member of each language, then their number: int64 (num_languages + 1,)."""
        codes = np.arange(len(self.languages) + 1)
        return np.searchsorted(self.language_codes, codes).astype(np.int64)

    @property
    def counts(self) -> dict[str, int]:
        """Number of members of each language that has any."""
        sizes = np.diff(self.language_starts).tolist()
        return {name: size for name, size in zip(self.languages, sizes, strict=True) if size}

    def language_of(self, row: int) -> str:
        """Return the language of a member."""
        return self.languages[self.language_codes[row]]


class TextCollection(Pool, Sequence[str]):
    """Texts sorted by language, otherwise in their original order; so are embeddings of them.

    The collection is a sequence of the texts, which are read from Arrow memory or a mapped file on
    access.

    Attributes:
        original_rows: int64 (n,), the row of each text in what `store_texts` was given.
    """

    def __init__(self, stored: pa.Table, languages: tuple[str, ...]) -> None:
        """Sort what `store_texts` returned.

        Args:
            stored: ids, languages and texts.
            languages: language codes, sorted, those of all texts among them.
        """
        codes = pc.index_in(stored["lang"], value_set=pa.array(languages, pa.string())).to_numpy()
        self.original_rows = np.argsort(codes, kind="stable")
        ids = stored["id"].to_pylist()
        super().__init__(
            [ids[row] for row in self.original_rows], languages, codes[self.original_rows]
        )
        self._texts = stored["text"]
        self._is_sorted = bool((np.diff(self.original_rows) == 1).all())

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            if self._is_sorted:
                return self._texts[row].to_pylist()
            return [self._texts[int(place)].as_py() for place in self.original_rows[row]]
        return self._texts[int(self.original_rows[row])].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), ROWS_PER_BATCH):
            yield from self[start : start + ROWS_PER_BATCH]


def store_texts(
    texts: Iterable[tuple[str, str, str]], folder: str | Path | None = None
) -> pa.Table:
    """Put texts into Arrow memory, or into a mapped file if they are large.

    Args:
        texts: id, language and text of each; iterated over once, a few thousand at a time.
        folder: where the file is; default that for temporary files. It goes with the texts.

    Returns:
        Columns "id", "lang" and "text", in the order given.

    Raises:
        OSError: the file cannot be written; the message says where it was to be.
    """
    texts = iter(texts)
    batches = iter(lambda: _batch(list(islice(texts, ROWS_PER_BATCH))), None)
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.nbytes for each in held) > IN_MEMORY_BYTES:
            return _map(chain(held, batches), folder)
    return pa.Table.from_batches(held, _SCHEMA)


def _batch(texts: list[tuple[str, str, str]]) -> pa.RecordBatch | None:
    if not texts:
        return None
    columns = zip(*texts, strict=True)
    return pa.record_batch(
        [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)],
        schema=_SCHEMA,
    )


def _map(batches: Iterable[pa.RecordBatch], folder: str | Path | None) -> pa.Table:
    """Write batches to a temporary file, which is unlinked but lives as long as it is mapped."""
    with tempfile.TemporaryDirectory(prefix="hybrid-fast-texts-", dir=folder) as made:
        path = Path(made) / "texts.arrow"
        with writing(path), pa.ipc.new_file(path, _SCHEMA) as file:
            for batch in batches:
                file.write_batch(batch)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
