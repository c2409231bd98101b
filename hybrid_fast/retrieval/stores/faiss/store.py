"""A store in a folder, searched exactly or by an index of FAISS.

Readers map the files as of the last commit, and need no lock. Who adds or deletes first takes the
folder for itself, and begins at the last commit. An index is made by the first commit of enough
rows; those that are added later are compared exactly until they are many, and then go into it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace as changed
from functools import partial
from pathlib import Path

import numpy as np

from hybrid_fast.common.locks import sole_use
from hybrid_fast.common.paths import expanded
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.exact_search import Hits
from hybrid_fast.retrieval.stores.checks import check_rows, check_search, check_tuning
from hybrid_fast.retrieval.stores.faiss.exact import search_rows
from hybrid_fast.retrieval.stores.faiss.folder import (
    Commit,
    new_build,
    prepare,
    read_commit,
    remove_build,
    write_commit,
)
from hybrid_fast.retrieval.stores.faiss.kinds import check
from hybrid_fast.retrieval.stores.faiss.rows import KeptRows
from hybrid_fast.retrieval.stores.faiss.search import IndexSearch
from hybrid_fast.retrieval.stores.faiss.upkeep import read_search, retuned, updated
from hybrid_fast.retrieval.stores.store import Rows, Store, StoreHits
from hybrid_fast.retrieval.vector_info import VectorInfo

logger = logging.getLogger(__name__)
# Of the rows that may be deleted before a commit writes the others anew.
MOST_DELETED = 1 / 3
_Languages = Collection[str] | None


def create(
    place: str,
    info: VectorInfo,
    *,
    index: str = "auto",
    dtype: str = "float32",
    replace: bool = False,
    target_recall: float = 0.95,
    refine: int | None = None,
) -> FaissStore:
    """Make an empty store; see `create_store`.

    Args:
        place: its folder, which must not hold other files.
        info: whose vectors it will keep.
        index: "flat" (exact), "hnsw", "ivf-pq", "ivf-sq8", "sq8", or a factory string of FAISS;
            "auto" chooses by the number of rows and the free memory.
        dtype: of the vectors on the disk, "float32" or "float16".
        replace: whether a store that is there gives way at the first commit.
        target_recall: recall@10 that the effort of searches is chosen for, of rows of the store
            or what `tune` is given.
        refine: so many candidates a hit are compared again by the vectors; 0 for none; default by
            the kind of index.

    Raises:
        FileExistsError: the folder holds a store or other files, or is in use by another process.
        ValueError: an option is wrong.
    """
    options = check(info, index=index, dtype=dtype, target_recall=target_recall, refine=refine)
    folder = expanded(place)
    with ExitStack() as held:
        held.enter_context(sole_use(folder))
        prepare(folder, replace)
        return FaissStore(folder, Commit(info, dtype, new_build(), options), held)


def open(
    place: str,
    *,
    nprobe: int | None = None,
    ef_search: int | None = None,
    refine: int | None = None,
    verify: bool | None = None,
) -> FaissStore:
    """Open a store; see `open_store`.

    Args:
        place: its folder.
        nprobe: inverted lists that a search looks at; default as chosen when it was made.
        ef_search: candidates that a search of a graph keeps; default likewise.
        refine: so many candidates a hit are compared again by the vectors; default likewise.
        verify: whether the checksums of all files are compared, which reads them; default if they
            have at most 256 MiB together.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was never finished or is damaged, or its index has no such option.
    """
    folder = expanded(place)
    store = read_commit(folder, partial(FaissStore, folder), verify)
    try:
        store.set_effort(nprobe=nprobe, ef_search=ef_search, refine=refine)
    except ValueError:
        store.close()
        raise
    return store


class FaissStore(Store):
    """Vectors in a folder, mapped into memory.

    Attributes:
        folder: of the store.
    """

    def __init__(self, folder: Path, commit: Commit, held: ExitStack | None = None) -> None:
        """Open a commit for reading, or a new store for writing, with the lock of its folder."""
        self.folder, self.address, self.info = folder, f"faiss:{folder}", commit.info
        self._new = self._changed = self._writable = held is not None
        self._commit, self._rows = commit, KeptRows(folder, commit, self._writable)
        self._search = read_search(self._rows, commit)
        self._given: dict[str, int] = {}  # in place of what the commit says of searches
        self._held = ExitStack() if held is None else held.pop_all()

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether a search compares all vectors."""
        return self._search is None

    @property
    def index(self) -> str:  # type: ignore[override]
        """What it searches by, for people."""
        return str(self._with_effort() or "flat")

    def set_effort(
        self, *, nprobe: int | None = None, ef_search: int | None = None, refine: int | None = None
    ) -> None:
        """Change what searches do for their recall; see `open`. A commit does not keep it.

        Raises:
            ValueError: the index has no such option, or a number is out of range.
        """
        given = {"nprobe": nprobe, "ef_search": ef_search, "refine": refine}
        for name, value in given.items():
            if value is None:
                continue
            if self._search is None or name not in ("refine", self._search.index.effort_name):
                raise ValueError(f"{self.address} has no {name}: its index is {self.index}")
            least = 0 if name == "refine" else 1
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
            self._given[name] = value

    def tune(self, queries: np.ndarray) -> None:
        """Choose the effort of searches for queries such as these; see `Store.tune`.

        Raises:
            FileExistsError: another process adds or deletes.
            ValueError: they have a wrong shape, NaN or infinity, or there are none.
        """
        check_tuning(queries, self.info)
        self._begin_writing()
        rows, self._changed = self._rows, True
        rows.queries = self._prepared(queries)
        if self._search is not None:
            self._search = retuned(self._search, rows, self._commit)

    def _prepared(self, queries: np.ndarray) -> np.ndarray:
        return normalize_rows(queries) if self.info.similarity == "cosine" else queries

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

    def search(self, queries: np.ndarray, k: int, languages: _Languages = None) -> StoreHits:
        """Find the k vectors most similar to each query; see `Store.search`."""
        return self._find(self._with_effort(), queries, k, languages)

    def search_exactly(self, queries: np.ndarray, k: int) -> StoreHits:
        """Search by comparing all vectors."""
        return self._find(None, queries, k, None)

    def _find(
        self, index: IndexSearch | None, queries: np.ndarray, k: int, languages: _Languages
    ) -> StoreHits:
        check_search(queries, k, languages, self._rows.counts(), self.info)
        queries = self._prepared(queries)
        find = search_rows if index is None else index.search
        return self._named(find(self._rows.vectors, queries, k, self._rows.allowed(languages)), k)

    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """Return the texts of ids; None where the store keeps none."""
        rows = self._rows.find(ids)
        found = np.full(len(rows), None, object)
        found[rows >= 0] = self._rows.texts.texts(rows[rows >= 0])
        return list(found)

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
            ValueError: there are too few rows to fit the index of a new store to; one that was
                committed before is searched exactly until there are enough.
            OSError: it cannot be written; the last commit stays.
        """
        if not self._changed:
            return
        if len(self._rows) - self._rows.count() > MOST_DELETED * len(self._rows):
            self._compact()
        number = self._commit.number + 1
        path = self._rows.path(f"index-{number}.faiss")
        self._search, index = updated(
            self._search, self._rows, self._commit, path, needed=self._new
        )
        if index is not None:
            files = {**self._commit.files, "index": index}
            self._commit = changed(self._commit, files=files)
        self._commit = changed(
            self._commit,
            number=number,
            files={**self._commit.files, **self._rows.flush(number)},
            languages=tuple(self._rows.languages),
            index={} if self._search is None else self._search.to_dict(),
        )
        write_commit(self.folder, self._commit)
        self._new = self._changed = False

    def _with_effort(self) -> IndexSearch | None:
        """Return the index, with the effort that was given for its kind, if any."""
        made, given = self._search, self._given
        if made is None:
            return None
        effort = given.get(made.index.effort_name, made.effort)
        return changed(made, effort=effort, refine=given.get("refine", made.refine))

    def _compact(self) -> None:
        """Begin a build of the rows that are not deleted."""
        commit = changed(self._commit, build=new_build(), number=0, files={}, index={})
        deleted = len(self._rows) - self.count()
        logger.info("%s: writing it anew without %d deleted rows", self.address, deleted)
        rows = KeptRows(self.folder, commit, writable=True)
        try:
            rows.append_alive(self._rows)
        except BaseException:
            rows.close()
            remove_build(self.folder, commit)
            raise
        self._rows.close()
        self._rows, self._commit, self._search = rows, commit, None

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
            self._go_on(read_commit(self.folder, lambda commit: commit))
            self._held = held.pop_all()
        self._writable = True

    def _go_on(self, commit: Commit) -> None:
        """Take the last commit, which may be another process's, for the one that is open."""
        if commit.info != self.info:
            raise ValueError(
                f"{self.address} was replaced since it was opened, by a store of other vectors; "
                "open it again"
            )
        rows = KeptRows(self.folder, commit, writable=True)
        self._rows.close()
        self._rows, self._commit, before = rows, commit, self._commit
        if (commit.build, commit.index) != (before.build, before.index):
            self._search = read_search(rows, commit)

    def _named(self, hits: Hits, k: int) -> StoreHits:
        """Return hits by id, with scores for all k."""
        scores = np.full((len(hits.scores), k), -np.inf, np.float32)
        scores[:, : hits.scores.shape[1]] = hits.scores
        ids = self._rows.texts.ids(hits.rows).tolist()
        return StoreHits(ids, self._rows.languages_of(hits.rows).tolist(), scores)
