"""Queries and candidates of a task, and the order in which their embeddings are expected."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Texts beyond this many bytes go to a temporary file, which is mapped.
IN_MEMORY_BYTES = 2**28
ROWS_PER_BATCH = 4096
_SCHEMA = pa.schema({"id": pa.string(), "lang": pa.string(), "text": pa.large_string()})


class Query(NamedTuple):
    """A question; translations of one another share the id."""

    id: str
    lang: str
    text: str


class Candidate(NamedTuple):
    """A text to be found, and the ids of the queries, in any language, that it answers."""

    id: str
    lang: str
    text: str
    query_ids: tuple[str, ...] = ()


class Pool:
    """What is ranked, language by language.

    Attributes:
        ids: id of each member.
        languages: the task's language codes, sorted.
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


class TextCollection(Pool, Sequence[str]):
    """Texts in the order in which embeddings of them are expected: language by language.

    The collection is a sequence of the texts, which are read from Arrow memory or a mapped file as
    they are asked for.

    Attributes:
        arrivals: int64 (n,), where each text stood in what was stored.
    """

    def __init__(self, stored: pa.Table, languages: tuple[str, ...]) -> None:
        """Order what `store` returned.

        Args:
            stored: ids, languages and texts.
            languages: the task's language codes, sorted, all of the texts among them.
        """
        codes = pc.index_in(stored["lang"], value_set=pa.array(languages, pa.string())).to_numpy()
        self.arrivals = np.argsort(codes, kind="stable")
        ids = stored["id"].to_pylist()
        super().__init__([ids[row] for row in self.arrivals], languages, codes[self.arrivals])
        self._texts = stored["text"]
        self._is_sorted = bool((np.diff(self.arrivals) == 1).all())

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            if self._is_sorted:
                return self._texts[row].to_pylist()
            return [self._texts[int(place)].as_py() for place in self.arrivals[row]]
        return self._texts[int(self.arrivals[row])].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), ROWS_PER_BATCH):
            yield from self[start : start + ROWS_PER_BATCH]


def store(items: Iterable[Query | Candidate]) -> pa.Table:
    """Put texts into Arrow memory, or into a mapped file if they are many.

    Args:
        items: passed through once, a few thousand held at a time.

    Returns:
        Columns "id", "lang" and "text", in the order of the items.
    """
    items = iter(items)
    batches = iter(lambda: _batch(list(islice(items, ROWS_PER_BATCH))), None)
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.nbytes for each in held) > IN_MEMORY_BYTES:
            return _map(chain(held, batches))
    return pa.Table.from_batches(held, _SCHEMA)


def _batch(items: list[Query | Candidate]) -> pa.RecordBatch | None:
    if not items:
        return None
    columns = list(zip(*(item[:3] for item in items), strict=True))
    return pa.record_batch(
        [pa.array(column, kind) for column, kind in zip(columns, _SCHEMA.types, strict=True)],
        schema=_SCHEMA,
    )


def _map(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Write batches to a file that is gone from its folder, but there as long as it is mapped."""
    with tempfile.TemporaryDirectory(prefix="hybrid-fast-texts-") as folder:
        path = Path(folder) / "texts.arrow"
        with pa.ipc.new_file(path, _SCHEMA) as file:
            for batch in batches:
                file.write_batch(batch)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def check_languages(
    languages: Sequence[str] | None, known: Iterable[str], task: str
) -> tuple[str, ...]:
    """Return the languages of a task that are asked for, all if None.

    Raises:
        TypeError: if `languages` is a string.
        ValueError: if a language is not known, or none is asked for.
    """
    known = tuple(known)
    if isinstance(languages, str):
        raise TypeError(f"languages is the text {languages!r}; give a list of codes")
    if languages is None:
        return known
    unknown = sorted(set(languages) - set(known))
    if unknown or not languages:
        found = f"has no {', '.join(unknown)}" if unknown else "needs at least one language"
        raise ValueError(f"task {task!r} {found}; its languages are {', '.join(known)}")
    return tuple(dict.fromkeys(languages))
