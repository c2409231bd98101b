"""The index of a store over time: made of enough rows, extended by later ones, tuned to queries."""

from __future__ import annotations

import logging
from dataclasses import replace as changed
from pathlib import Path

from hybrid_fast.retrieval.stores.faiss.files import KeptFile, keep_file
from hybrid_fast.retrieval.stores.faiss.folder import Commit
from hybrid_fast.retrieval.stores.faiss.index import FaissIndex, read_index
from hybrid_fast.retrieval.stores.faiss.kinds import plan_index
from hybrid_fast.retrieval.stores.faiss.rows import KeptRows
from hybrid_fast.retrieval.stores.faiss.search import (
    IndexSearch,
    Tuning,
    build_index,
    extend_index,
    tune,
)

logger = logging.getLogger(__name__)
# Rows that are compared exactly beside an index; a commit adds more to it.
TAIL_ROWS = 2**14


def read_search(rows: KeptRows, commit: Commit) -> IndexSearch | None:
    """Return how a commit is searched; None if all rows are compared."""
    if not commit.index:
        return None
    return IndexSearch(_read(rows, commit, mapped=True), **commit.index)


def retuned(search: IndexSearch, rows: KeptRows, commit: Commit) -> IndexSearch:
    """Return an index with the effort that the queries of the rows ask for."""
    return tune(search, rows.vectors, rows.alive, _tuning(rows, commit))


def updated(
    search: IndexSearch | None, rows: KeptRows, commit: Commit, path: Path, *, needed: bool
) -> tuple[IndexSearch | None, KeptFile | None]:
    """Make or extend an index if it is time.

    Args:
        search: the index so far; None if all rows are compared.
        rows: of the store.
        commit: the last one.
        path: for the file of a new index.
        needed: whether too few rows for an index are an error; otherwise they are compared.

    Returns:
        The index, and its file if it is a new one.

    Raises:
        ValueError: there are too few rows.
        OSError: it cannot be written.
    """
    made = None
    if search is None:
        made = _build(rows, commit, needed)
    elif len(rows) - len(search.index) > TAIL_ROWS:
        whole = changed(search, index=_read(rows, commit, mapped=False))
        made = extend_index(whole, rows.vectors, rows.alive, _tuning(rows, commit))
    if made is None:
        return search, None
    made.index.write(path)
    return changed(made, index=read_index(path, mapped=True)), keep_file(path)


def _build(rows: KeptRows, commit: Commit, needed: bool) -> IndexSearch | None:
    """Return an index of all rows; None if they are to be compared exactly."""
    plan = plan_index(commit.options, len(rows), commit.info.dimension)
    if not plan.factory:
        return None
    try:
        return build_index(rows.vectors, plan, rows.alive, _tuning(rows, commit))
    except ValueError as error:
        if needed:
            raise
        logger.warning("%s is searched exactly for now: %s", rows.path("").parent, error)
        return None


def _tuning(rows: KeptRows, commit: Commit) -> Tuning:
    return Tuning(commit.options.target_recall, rows.queries)


def _read(rows: KeptRows, commit: Commit, mapped: bool) -> FaissIndex:
    return read_index(rows.path(commit.files["index"].name), mapped)
