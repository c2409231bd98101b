"""Which index a FAISS store has: kinds by name, the choice by size and memory, and their sizes.

Exact search is chosen while a query compares at most `EXACT_NUMBERS` numbers, some tenth of a
second, and half of the free memory holds the vectors, which are read at each search. Above it a
graph (HNSW) is, while it is built within an hour or so and half of the free memory holds it; then
inverted lists of product-quantised vectors.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import psutil

from hybrid_fast.common.choices import check_choice, nearest
from hybrid_fast.common.control_groups import free_in_groups
from hybrid_fast.retrieval.stores.faiss.index import make_index
from hybrid_fast.retrieval.vector_info import VectorInfo

logger = logging.getLogger(__name__)
EXACT_NUMBERS = 4 * 10**8
GRAPH_ROWS = 4 * 10**6
_GRAPH_LINKS = 2 * 32  # of a row in the lowest layer, 4 bytes each
# Vectors that a centroid is fitted to; FAISS asks for 39 at least and takes no more than 256.
_PER_CENTROID = 64
_LEAST_PER_CENTROID = 39
_CODES = 256  # of a quantiser of one byte
MOST_LISTS = 2**14
MOST_SAMPLE = 2**20
# Factory strings of indices whose candidates are the best by exact scores: no transform, no codes.
_KEEPS_VECTORS = re.compile(r"^(IVF\d+(_HNSW\d+)?,)?Flat$|^HNSW\d+(,Flat)?$")
FLAT = ("flat", "Flat")
KINDS = ("auto", "flat", "hnsw", "ivf-pq", "ivf-sq8", "sq8")


@dataclass(frozen=True)
class IndexOptions:
    """What was asked of the index of a store.

    Attributes:
        kind: a name of `KINDS`, or a factory string of FAISS.
        target_recall: recall@10 that the effort of searches is chosen for.
        refine: so many candidates a hit are compared again by the vectors; 0 for none, None to
            choose by the kind.
    """

    kind: str = "auto"
    target_recall: float = 0.95
    refine: int | None = None

    def check(self, dimension: int) -> None:
        """Check them for vectors of some dimension.

        Raises:
            ValueError: one is out of range, or FAISS makes no such index.
        """
        if not 0 < self.target_recall <= 1:
            raise ValueError(
                f"target_recall is {self.target_recall}; it must be above 0, at most 1"
            )
        if self.refine is not None and self.refine < 0:
            raise ValueError(f"refine is {self.refine}; it must be 0 or more")
        if self.kind in KINDS:
            return
        try:
            make_index(self.kind, dimension)
        except ValueError as error:
            raise ValueError(
                f"index is {self.kind!r}; {', '.join(KINDS)} or a factory string of FAISS is "
                f"needed{nearest(self.kind, KINDS)} ({error})"
            ) from error


def check(
    info: VectorInfo,
    *,
    index: str = "auto",
    dtype: str = "float32",
    target_recall: float = 0.95,
    refine: int | None = None,
    replace: bool = False,
) -> IndexOptions:
    """Return what is asked of the index of a new store; the options are those of `create`.

    Raises:
        ValueError: one is wrong.
    """
    check_choice("dtype", dtype, ("float32", "float16"))
    options = IndexOptions(index, target_recall, refine)
    options.check(info.dimension)
    return options


@dataclass(frozen=True)
class IndexPlan:
    """How an index is made.

    Attributes:
        factory: string of FAISS; "" for exact search.
        refine: candidates of a hit that are compared again; 0 for none.
        sample: vectors that it is fitted to.
    """

    factory: str
    refine: int = 0
    sample: int = 0


def plan_index(options: IndexOptions, rows: int, dimension: int) -> IndexPlan:
    """Return how the index of a number of rows is made."""
    kind = options.kind
    if kind == "auto":
        memory = free_memory()
        kind = choose_kind(rows, dimension, memory)
        logger.info(
            "%s is chosen for %d vectors of %d dimensions and %.1f GiB of free memory",
            kind,
            rows,
            dimension,
            memory / 2**30,
        )
    if kind in FLAT or rows < 2:  # of one vector no recall can be measured
        return IndexPlan("")
    lists = num_lists(rows)
    codes = code_bytes(dimension)
    factory, refine = {
        "hnsw": ("HNSW32,SQ8", 2),
        "ivf-pq": (f"IVF{lists},PQ{codes}np", 8),
        "ivf-sq8": (f"IVF{lists},SQ8", 2),
        "sq8": ("SQ8", 2),
    }.get(kind, (kind, 1 if _KEEPS_VECTORS.search(kind) else 8))
    sample = min(rows, MOST_SAMPLE, max(_PER_CENTROID * lists, 2 * _LEAST_PER_CENTROID * _CODES))
    return IndexPlan(factory, refine if options.refine is None else options.refine, sample)


def choose_kind(rows: int, dimension: int, memory: int) -> str:
    """Return the kind of index for a number of rows, by the bytes of free memory."""
    if rows * dimension <= EXACT_NUMBERS and 4 * rows * dimension <= memory / 2:
        return "flat"
    if rows <= GRAPH_ROWS and rows * (dimension + 4 * _GRAPH_LINKS) <= memory / 2:
        return "hnsw"
    return "ivf-pq"


def num_lists(rows: int) -> int:
    """Return the number of inverted lists: the power of 2 nearest to 4 roots of the rows."""
    wanted = 2 ** round((4 + max(rows, 1).bit_length()) / 2)
    return max(1, min(wanted, MOST_LISTS, rows // _LEAST_PER_CENTROID))


def code_bytes(dimension: int) -> int:
    """Return the bytes of a product-quantised vector: one for 4 dimensions, or somewhat more."""
    return max(size for size in range(1, max(dimension // 4, 1) + 1) if dimension % size == 0)


def free_memory() -> int:
    """Return the bytes that this process can still allocate."""
    available, in_groups = int(psutil.virtual_memory().available), free_in_groups()
    return available if in_groups is None else min(available, in_groups)
