"""The rows of a FAISS store: vectors, ids, languages and texts, to which rows are added.

Rows are numbered in the order of adding and stay where they are. One that is deleted, or replaced
by another of its id, is marked; what counts are the others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from hybrid_fast.common.disk import writing
from hybrid_fast.retrieval.stores.faiss.files import (
    GrowingFile,
    KeptFile,
    as_bytes,
    map_file,
    write_array,
)
from hybrid_fast.retrieval.stores.faiss.folder import Commit
from hybrid_fast.retrieval.stores.faiss.ids import IdTable, hash_ids
from hybrid_fast.retrieval.stores.faiss.texts import RowTexts
from hybrid_fast.retrieval.stores.faiss.vectors import Vectors
from hybrid_fast.retrieval.stores.store import Rows

MAX_LANGUAGES = 2**16
_COPIED_ROWS = 2**14


class KeptRows:
    """Rows of a store, as of a commit and with what was added and deleted since.

    Attributes:
        vectors: of all rows.
        texts: ids and texts of all rows.
        languages: codes of languages, by their numbers.
        alive: which rows count, bool (n,).
        queries: such as will be asked, ready for inner products, float32 (m, D); none: unknown.
    """

    def __init__(self, folder: Path, commit: Commit, writable: bool) -> None:
        """Open the files of a commit; for writing they are made if there are none."""
        self._folder = folder / commit.build
        if writable:
            with writing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
        self._files = {
            what: GrowingFile(self._folder, commit.kept(what, name), writable)
            for what, name in (
                ("vectors", "vectors.bin"),
                ("languages", "languages.bin"),
                ("rows", "rows.arrow"),
            )
        }
        for file in self._files.values():
            file.read()  # mapped now, since another process may replace the store
        self.vectors = Vectors(self._files["vectors"], commit.info, commit.dtype)
        self.texts = RowTexts(self._files["rows"])
        self.languages = list(commit.languages)
        ids, alive = (self._read(commit, what) for what in ("ids", "alive"))
        queries = self._read(commit, "queries").view(np.float32)
        self.queries = queries.reshape(-1, commit.info.dimension)
        self._ids = IdTable(ids.view(np.uint64).reshape(2, -1))
        self.alive = np.unpackbits(alive, count=len(self.vectors), bitorder="little").view(bool)
        self._counts: dict[str, int] | None = None
        self._allowed: tuple[frozenset[str] | None, np.ndarray | None] | None = None

    def __len__(self) -> int:
        return len(self.alive)

    def append(self, rows: Rows) -> None:
        """Add rows; those whose id is there take its place.

        Raises:
            ValueError: a vector is beyond the range of float16.
            OSError: they cannot be written. Either way nothing is added.
        """
        hashes = hash_ids(rows.ids)
        replaced = self._find(rows.ids, hashes)
        codes = self._encode(rows.languages)
        before = {what: file.kept for what, file in self._files.items()}
        try:
            self.vectors.append(rows.vectors)
            self._files["languages"].append(as_bytes(codes))
            self.texts.append(rows.ids, rows.texts)
        except BaseException:
            for what, file in self._files.items():
                file.cut(before[what])
            raise
        self._ids.add(hashes, len(self))
        self.alive = np.concatenate([self.alive, np.ones(len(codes), bool)])
        self.kill(replaced[replaced >= 0])

    def append_alive(self, others: KeptRows) -> None:
        """Add the rows of another store that are not deleted, as its files keep them."""
        rows = np.flatnonzero(others.alive)
        self.queries = others.queries.copy()  # no longer mapped
        self.languages = list(others.languages)
        for first in range(0, len(rows), _COPIED_ROWS):
            some = rows[first : first + _COPIED_ROWS]
            ids = others.texts.ids(some).tolist()
            self.vectors.append_kept(others.vectors.kept()[some])
            self._files["languages"].append(as_bytes(others._codes()[some]))
            self.texts.append(ids, others.texts.texts(some).tolist())
            self._ids.add(hash_ids(ids), first)
        self.alive = np.ones(len(rows), bool)

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Return the row of each id, -1 where there is none, int64 (n,)."""
        return self._find(ids, hash_ids(ids))

    def kill(self, rows: np.ndarray) -> None:
        """Mark rows as deleted."""
        self.alive[rows] = False
        self._counts = self._allowed = None

    def count(self) -> int:
        """Return how many rows count."""
        return sum(self.counts().values())

    def counts(self) -> dict[str, int]:
        """Return how many rows of each language count."""
        if self._counts is None:
            numbers = np.bincount(self._codes()[self.alive], minlength=len(self.languages))
            pairs = zip(self.languages, numbers.tolist(), strict=True)
            self._counts = {language: number for language, number in pairs if number}
        return self._counts

    def languages_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the languages of rows, objects of the shape of `rows`."""
        return np.array(self.languages, object)[self._codes()[rows]]

    def allowed(self, languages: Collection[str] | None) -> np.ndarray | None:
        """Return which rows a search may find, bool (n,); None for all."""
        key = None if languages is None else frozenset(languages)
        if self._allowed is None or self._allowed[0] != key:
            self._allowed = key, self._allow(key)
        return self._allowed[1]

    def path(self, name: str) -> Path:
        """Return where a file of the build lies."""
        return self._folder / name

    def flush(self, number: int) -> dict[str, KeptFile]:
        """Have everything written to the disk, and return the files of a commit."""
        for file in self._files.values():
            file.flush()
        arrays = {
            "ids": self._ids.merged(),
            "alive": np.packbits(self.alive, bitorder="little"),
            **({"queries": self.queries} if len(self.queries) else {}),
        }
        return {what: file.kept for what, file in self._files.items()} | {
            what: write_array(self._folder / f"{what}-{number}.bin", array)
            for what, array in arrays.items()
        }

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()

    def _allow(self, languages: frozenset[str] | None) -> np.ndarray | None:
        if languages is None:
            return None if self.alive.all() else self.alive
        wanted = np.array([each in languages for each in self.languages], bool)
        return wanted[self._codes()] & self.alive

    def _find(self, ids: Sequence[str], hashes: np.ndarray) -> np.ndarray:
        positions, rows = self._ids.candidates(hashes)
        positions, rows = positions[self.alive[rows]], rows[self.alive[rows]]
        same = self.texts.ids(rows) == np.array(ids, object)[positions]
        found = np.full(len(ids), -1, np.int64)
        found[positions[same]] = rows[same]
        return found

    def _encode(self, languages: Sequence[str]) -> np.ndarray:
        known = list(dict.fromkeys([*self.languages, *languages]))
        if len(known) > MAX_LANGUAGES:
            raise ValueError(
                f"a store has at most {MAX_LANGUAGES} languages, and {languages[-1]!r} would be "
                "one more; check what was given for them"
            )
        self.languages = known
        numbers = {language: number for number, language in enumerate(known)}
        return np.array([numbers[language] for language in languages], np.uint16)

    def _codes(self) -> np.ndarray:
        return self._files["languages"].read().view(np.uint16)

    def _read(self, commit: Commit, what: str) -> np.ndarray:
        kept = commit.files.get(what, KeptFile(""))
        return map_file(self._folder / kept.name, kept.size)
