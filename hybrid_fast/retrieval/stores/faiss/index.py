"""Indices of FAISS, of any factory string: made, filled, mapped, and searched with a filter.

What a search does for its recall is one number, the effort: of inverted lists, how many are looked
at (nprobe); of a graph, how many candidates are kept (efSearch). Others have none.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_fast.common.disk import writing

# With 40, which is FAISS's, some neighbours stay out of reach whatever the effort: in one build of
# 147,000 passages of multilingual-e5-small recall@10 of passages ended at .94, with this at .98.
_EF_CONSTRUCTION = 160
_LEAST_SHARE = 1 / 16  # of rows that may be found, for kinds that cannot leave out others
_QUERIES = 4096  # that FAISS searches at a time


class FaissIndex:
    """An index whose ids are rows.

    Attributes:
        index: of FAISS.
        effort_name: "nprobe", "ef_search" or "".
        least, most: effort that is chosen from. Questions lie farther from passages than these from
            one another: a graph that finds .96 of the neighbours of passages with an effort of 16
            finds .54 of those of questions, .92 with 128, so it has no less.
    """

    def __init__(self, index: Any) -> None:
        faiss = _faiss()

        self._owner, self.index = index, faiss.downcast_index(index)  # which does not keep it
        self._inner = _innermost(self.index)
        self.effort_name, self.least, self.most = "", 1, 1
        if isinstance(self._inner, faiss.IndexIVF):
            self.effort_name, self.most = "nprobe", int(self._inner.nlist)
        elif isinstance(self._inner, faiss.IndexHNSW):
            self.effort_name, self.least, self.most = "ef_search", 2**7, 2**12

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def train(self, sample: np.ndarray) -> None:
        """Fit what the index learns from vectors, float32 (m, D).

        Raises:
            ValueError: they are too few, or FAISS refuses them otherwise.
        """
        try:
            self.index.train(sample)
        except RuntimeError as error:
            raise ValueError(
                f"{len(sample)} vectors do not train this index ({_reason(error)}); use flat, "
                "which is exact, or an index of fewer lists and codes"
            ) from error

    def add(self, vectors: np.ndarray) -> None:
        """Add rows, float32 (n, D)."""
        self.index.add(vectors)

    def write(self, path: Path) -> None:
        """Write a new file.

        Raises:
            OSError: it cannot be written.
        """
        path.unlink(missing_ok=True)  # what an attempt that failed may have left
        with writing(path):
            _faiss().write_index(self.index, str(path))

    def search(
        self, queries: np.ndarray, depth: int, effort: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rows that are probably the nearest.

        Args:
            queries: float32 (n, D).
            depth: rows of each query.
            effort: of the search.
            allowed: rows that may be found, bool (number of rows,); default all.

        Returns:
            Rows, int64 (n, depth), -1 where none was found, and their scores in the index.

        Raises:
            ValueError: FAISS cannot search it so.
        """
        num_rows = len(self)
        share = 1.0 if allowed is None else max(int(allowed.sum()), 1) / num_rows
        effort = min(int(np.ceil(effort / share)), num_rows)
        selector = _selector(allowed)
        try:
            found = self._search(queries, depth, effort, selector)
        except RuntimeError as error:
            if selector is None:
                raise ValueError(
                    f"FAISS does not search this index with parameters ({_reason(error)}); use "
                    "another index"
                ) from error
            # Some kinds have no filter: more are searched, and the others left out.
            if share < _LEAST_SHARE:
                return np.full((len(queries), depth), -1), np.full((len(queries), depth), -np.inf)
            depth = min(int(np.ceil(depth / share)), num_rows)
            found = self._search(queries, depth, effort, None)
        rows, scores = found
        if allowed is not None:
            rows = np.where(allowed[rows] & (rows >= 0), rows, -1)
        return rows, np.where(rows >= 0, scores, -np.inf)

    def _search(
        self, queries: np.ndarray, depth: int, effort: int, selector: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        parameters = _parameters(self.index, max(effort, 1), depth, selector)
        parts = [
            self.index.search(queries[first : first + _QUERIES], depth, params=parameters)
            for first in range(0, len(queries), _QUERIES)
        ]
        scores, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
        return rows, scores


def make_index(factory: str, dimension: int) -> FaissIndex:
    """Return an empty index, which compares by inner products.

    Raises:
        ValueError: FAISS makes no index of a factory string, or none that takes rows in order.
    """
    faiss = _faiss()

    try:
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ValueError(
            f"FAISS makes no index {factory!r} for {dimension} dimensions: {_reason(error)}"
        ) from error
    made = FaissIndex(index)
    if isinstance(made.index, faiss.IndexIDMap | faiss.IndexIDMap2):
        raise ValueError(f"index {factory!r} numbers rows itself; leave out IDMap")
    inner = _innermost(made.index)
    if made.effort_name == "ef_search":
        inner.hnsw.efConstruction = _EF_CONSTRUCTION
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False  # slow, and of use only to searches by Hamming codes
    for part in (inner, getattr(inner, "pq", None)):
        if part is not None and hasattr(part, "cp"):
            part.cp.min_points_per_centroid = 1  # FAISS prints that there are few
    return made


def read_index(path: Path, mapped: bool) -> FaissIndex:
    """Return the index in a file, mapped into memory for reading as far as its kind allows.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is damaged.
    """
    faiss = _faiss()

    try:
        return FaissIndex(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0))
    except RuntimeError as error:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
        raise ValueError(f"{path} is damaged: FAISS cannot read it ({_reason(error)})") from error


def _faiss() -> Any:
    import faiss  # not needed to train, and its annotations are not those of what it takes

    return faiss


def _innermost(index: Any) -> Any:
    faiss = _faiss()

    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _innermost(index.index)
    if isinstance(index, faiss.IndexRefine):
        return _innermost(index.base_index)
    return index


def _parameters(index: Any, effort: int, depth: int, selector: Any) -> Any:
    """Return the parameters of a search, None if it has none."""
    faiss = _faiss()

    filtered = {} if selector is None else {"sel": selector}
    if isinstance(index, faiss.IndexPreTransform):
        inner = faiss.downcast_index(index.index)
        parameters = _parameters(inner, effort, depth, selector)
        return parameters and faiss.SearchParametersPreTransform(index_params=parameters)
    if isinstance(index, faiss.IndexRefine):
        inner = faiss.downcast_index(index.base_index)
        parameters = _parameters(inner, effort, depth, selector)
        return parameters and faiss.IndexRefineSearchParameters(base_index_params=parameters)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=min(effort, index.nlist), **filtered)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(effort, depth), **filtered)
    return faiss.SearchParameters(**filtered) if filtered else None


def _selector(allowed: np.ndarray | None) -> Any:
    faiss = _faiss()

    if allowed is None:
        return None
    return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def _reason(error: Exception) -> str:
    """Return what FAISS says went wrong, without where in its code."""
    text = str(error).strip().replace("\n", " ")
    return re.sub(r"^Error in .* at \S+:\d+: (Error: )?", "", text)
