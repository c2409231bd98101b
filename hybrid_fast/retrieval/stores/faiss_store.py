"""A store in a folder, searched exactly or by an index of FAISS.

Readers map the files as of the last commit, and need no lock. Who adds or deletes first takes the
folder for itself, and begins at the last commit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace as changed
from pathlib import Path

import numpy as np

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.locks import sole_use
from hybrid_fast.common.paths import expanded
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.exact_search import Hits
from hybrid_fast.retrieval.stores.checks import check_rows, check_search
from hybrid_fast.retrieval.stores.faiss_exact import search_rows
from hybrid_fast.retrieval.stores.faiss_folder import (
    Commit,
    new_build,
    prepare,
    read_commit,
    remove_build,
    write_commit,
)
from hybrid_fast.retrieval.stores.faiss_rows import KeptRows
from hybrid_fast.retrieval.stores.store import Rows, Store, StoreHits
from hybrid_fast.retrieval.vector_info import VectorInfo


def create(
    place: str,
    info: VectorInfo,
    *,
    index: str = "auto",
    dtype: str = "float32",
    replace: bool = False,
) -> FaissStore:
    """Make an empty store; see `create_store`.

    Args:
        place: its folder, which must not hold other files.
        info: whose vectors it will keep.
        index: "flat" or "auto".
        dtype: of the vectors on the disk, "float32" or "float16".
        replace: whether a store that is there gives way at the first commit.

    Raises:
        FileExistsError: the folder holds a store or other files, or is in use by another process.
        ValueError: an option is wrong.
    """
    check_choice("dtype", dtype, ("float32", "float16"))
    check_choice("index", index, ("auto", "flat"))
    folder = expanded(place)
    with ExitStack() as held:
        held.enter_context(sole_use(folder))
        prepare(folder, replace)
        return FaissStore(folder, Commit(info, dtype, new_build(), index), held)


def open(place: str, *, verify: bool | None = None) -> FaissStore:
    """Open a store; see `open_store`.

    Args:
        place: its folder.
        verify: whether the checksums of all files are compared, which reads them; default if they
            have at most 256 MiB together.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was never finished, or is damaged.
    """
    folder = expanded(place)
    return FaissStore(folder, read_commit(folder, verify))


class FaissStore(Store):
    """Vectors in a folder, mapped into memory.

    Attributes:
        folder: of the store.
    """

    def __init__(self, folder: Path, commit: Commit, held: ExitStack | None = None) -> None:
        """Open a commit for reading, or a new store for writing, with the lock of its folder."""
        self.folder, self.address, self.info = folder, f"faiss:{folder}", commit.info
        self.index, self.exact = "flat", True
        self._new = self._changed = self._writable = held is not None
        self._commit, self._rows = commit, KeptRows(folder, commit, self._writable)
        self._held = ExitStack() if held is None else held.pop_all()

    def add(self, rows: Rows) -> None:
        """Add vectors; see `Store.add`.

        Raises:
            FileExistsError: another process adds or deletes.
            ValueError: rows are not as they should be, or beyond the range of float16.
            OSError: they cannot be written; then none was added.
        """
        check_rows(rows, self.info)
        self._begin_writing()
        if len(rows.ids):
            self._changed = True
            self._rows.append(rows)

    def search(
        self, queries: np.ndarray, k: int, languages: Collection[str] | None = None
    ) -> StoreHits:
        """Find the k vectors most similar to each query; see `Store.search`."""
        check_search(queries, k, languages, self.languages(), self.info)
        if self.info.similarity == "cosine":
            queries = normalize_rows(queries)
        allowed = self._rows.allowed(languages)
        return self._named(search_rows(self._rows.vectors, queries, k, allowed), k)

    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """Return the texts of ids; None where the store keeps none."""
        rows = self._rows.find(ids)
        found = np.full(len(rows), None, object)
        found[rows >= 0] = self._rows.texts.texts(rows[rows >= 0])
        texts: list[str | None] = found.tolist()
        return texts

    def delete(self, ids: Sequence[str]) -> int:
        """Delete vectors; return how many there were of these ids.

        Raises:
            FileExistsError: another process adds or deletes.
        """
        self._begin_writing()
        rows = self._rows.find(list(dict.fromkeys(ids)))
        rows = rows[rows >= 0]
        if rows.size:
            self._changed = True
            self._rows.kill(rows)
        return len(rows)

    def count(self) -> int:
        """Return how many vectors it has."""
        return self._rows.count()

    def languages(self) -> dict[str, int]:
        """Return the number of vectors of each language."""
        return dict(self._rows.counts())

    def size(self) -> int:
        """Return the bytes of its files, as of the last commit."""
        return self._commit.size()

    def commit(self) -> None:
        """Keep what was added and deleted, for whoever opens the store from now on.

        Raises:
            OSError: it cannot be written; the last commit stays.
        """
        if not self._changed:
            return
        number = self._commit.number + 1
        files = self._rows.flush(number)
        self._commit = changed(
            self._commit, number=number, files=files, languages=tuple(self._rows.languages)
        )
        write_commit(self.folder, self._commit)
        self._new = self._changed = False

    def close(self) -> None:
        """Let go of files; what was not committed is lost."""
        self._rows.close()
        if self._new:
            remove_build(self.folder, self._commit)
        self._held.close()

    def _begin_writing(self) -> None:
        """Take the folder for this process, and begin at what is there by then."""
        if self._writable:
            return
        with ExitStack() as held:
            held.enter_context(sole_use(self.folder))
            self._commit = read_commit(self.folder)
            self._rows.close()
            self._rows = KeptRows(self.folder, self._commit, writable=True)
            self._held = held.pop_all()
        self._writable = True

    def _named(self, hits: Hits, k: int) -> StoreHits:
        """Return hits by id, with scores for all k."""
        scores = np.full((len(hits.scores), k), -np.inf, np.float32)
        scores[:, : hits.scores.shape[1]] = hits.scores
        ids = self._rows.texts.ids(hits.rows).tolist()
        return StoreHits(ids, self._rows.languages_of(hits.rows).tolist(), scores)
