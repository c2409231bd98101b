"""Stores of real vectors: time to build, size, recall, rate and memory of each kind of index.

    python benchmarks/store_speed.py                              # a million rows, FAISS
    python benchmarks/store_speed.py --rows 200000 --milvus       # Milvus Lite beside FAISS
    python benchmarks/store_speed.py --rows 50000                 # to try it out

Writes benchmarks/results/DATE-stores-ROWS.json, whole after each kind; `scaling_page.py` makes
tables of it. Vectors are those of `real_vectors.py`. A kind is built in one fresh process and
searched in another, whose peak of memory counts. Queries are real: the effort of searches is chosen
for some, and recall@10 is the share of the first ten by exact products of others. A query alone is
a call of its own, a batch is all queries at once.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import numpy as np
from machine import ROOT, today
from memory import run_fresh
from real_vectors import RealVectors, keep, new_report

from hybrid_fast.retrieval import search

KIND = "stores"
RESULTS = ROOT / "benchmarks" / "results"
NUM_ROWS, NUM_QUERIES, DEPTH = 1_000_000, 1_000, 10
NUM_TUNED = 1_024  # queries that searches are tuned to and recall is reported by
MILVUS_GIB = 10  # that Milvus Lite takes with 200,000 rows of 384


@dataclass(frozen=True)
class Kind:
    """A kind of store.

    Attributes:
        title: what the table calls it.
        store: kind of its address.
        build: options of `index_corpus`.
        find: options of `open_store`.
    """

    title: str
    store: str
    build: dict[str, Any] = field(default_factory=dict)
    find: dict[str, Any] = field(default_factory=dict)


KINDS = [
    Kind("flat", "faiss", {"index": "flat"}),
    Kind("flat, float16", "faiss", {"index": "flat", "dtype": "float16"}),
    Kind("sq8, refined", "faiss", {"index": "sq8"}),
    Kind("hnsw (SQ8), refined", "faiss", {"index": "hnsw"}),
    Kind("HNSW32 of float32", "faiss", {"index": "HNSW32"}),
    Kind("IVF4096, float32", "faiss", {"index": "IVF4096,Flat"}),
    Kind("ivf-sq8, refined", "faiss", {"index": "ivf-sq8"}),
    Kind("ivf-pq, refined", "faiss", {"index": "ivf-pq"}),
    Kind("ivf-pq, not refined", "faiss", {"index": "ivf-pq", "refine": 0, "target_recall": 0.8}),
]
MILVUS = [Kind("flat", "faiss", {"index": "flat"}), Kind("Milvus Lite", "milvus")]

_BUILD = """
import numpy as np
from memory import highest_resident_mib
from hybrid_fast.retrieval.indexing import index_corpus
report = index_corpus(folder, address, queries=np.load(tuned), **options)
print(json.dumps({
    "index": report.index,
    "build_s": report.seconds,
    "build_peak_mib": highest_resident_mib(),
}))
"""
_SEARCH = """
import statistics, time
import numpy as np
from memory import highest_resident_mib
from hybrid_fast.retrieval.stores import open_store
queries = np.load(queries)
with open_store(address, **options) as store:
    def seconds(some, **which):
        start = time.perf_counter()
        found = store.search(some, depth, **which)
        return time.perf_counter() - start, found.ids
    seconds(queries[:3])
    batches = [seconds(queries) for _ in range(3)]
    filtered = seconds(queries, languages=[language])[0]
    alone, spent = [], time.perf_counter()
    while len(alone) < 100 and (len(alone) < 3 or time.perf_counter() - spent < 20):
        alone.append(seconds(queries[len(alone) % len(queries)][None])[0])
print(json.dumps({
    "ids": batches[0][1],
    "queries_s_batch": len(queries) / statistics.median(took for took, _ in batches),
    "queries_s_filtered": len(queries) / filtered,
    "queries_s_alone": 1 / statistics.median(alone),
    "search_peak_mib": highest_resident_mib(),
}))
"""


def true_rows(vectors: RealVectors, queries: np.ndarray, size: int) -> np.ndarray:
    """Return the first rows of each query by exact products, int64 (n, DEPTH)."""
    step = 65_536
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, size, step):
        found = search(queries, vectors.rows(start, min(start + step, size)), DEPTH)
        rows = np.concatenate([rows, found.rows + start], axis=1)
        scores = np.concatenate([scores, found.scores], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        rows, scores = (np.take_along_axis(each, order, 1) for each in (rows, scores))
    return rows


def recall(found: Iterable[Iterable[int]], true: np.ndarray) -> float:
    """Return the share of true rows that were found, over all queries."""
    shares = [
        len({*some} & {*rows}) / len(rows) for some, rows in zip(found, true.tolist(), strict=True)
    ]
    return float(np.mean(shares))


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(
    kind: Kind, corpus: Path, queries: Path, tuned: Path, true: np.ndarray, language: str
) -> dict[str, Any]:
    """Build one kind of store, search it, and delete it."""
    with tempfile.TemporaryDirectory(dir=corpus.parent) as folder:
        place = Path(folder, "store.db" if kind.store == "milvus" else "store")
        address = f"{kind.store}:{place}"
        built = run_fresh(
            _BUILD, folder=str(corpus), address=address, tuned=str(tuned), options=kind.build
        )
        built["size_mib"] = disk_bytes(Path(folder)) / 2**20
        found = run_fresh(
            _SEARCH,
            queries=str(queries),
            address=address,
            options=kind.find,
            depth=DEPTH,
            language=language,
        )
    ids = found.pop("ids")
    return {
        "title": kind.title,
        **built,
        "recall": recall(([int(each) for each in some] for some in ids), true),
        **found,
    }


def memory_gib() -> float:
    """Return the memory that is free."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (free,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return int(free) / 2**20


def reason_to_skip(kind: Kind, rows: int) -> str:
    """Return why a kind is not measured here; "" if it is."""
    needed = MILVUS_GIB * rows / 200_000
    if kind.store == "milvus" and memory_gib() < needed:
        return f"{needed:.1f} GiB of free memory needed, there are {memory_gib():.1f}"
    return ""


def run(kinds: list[Kind], rows: int, num_queries: int, folder: Path, out: Path) -> dict[str, Any]:
    """Measure kinds and write what is known after each."""
    vectors = RealVectors.load()
    drawn = np.random.default_rng(0).permutation(len(vectors.queries))
    queries = vectors.queries[np.sort(drawn[:num_queries])]
    np.save(folder / "queries.npy", queries)
    np.save(folder / "tuned.npy", vectors.queries[drawn[num_queries : num_queries + NUM_TUNED]])
    corpus = vectors.write_corpus(folder / "corpus", rows).folder
    true = true_rows(vectors, queries, rows)
    names, counts = np.unique(vectors.languages_of(0, rows), return_counts=True)
    language = str(names[counts.argmax()])
    report = new_report(
        KIND,
        rows,
        "faiss-cpu",
        "pymilvus",
        "milvus-lite",
        dimension=vectors.passages.shape[1],
        real_rows=len(vectors.passages),
        queries=num_queries,
        language_share=float(counts.max() / counts.sum()),
    )
    for kind in kinds:
        skipped = reason_to_skip(kind, rows)
        found = {"title": kind.title, "skipped": skipped or "it failed"}
        if not skipped:
            with suppress(CalledProcessError):  # whose own output says why
                found = measure(
                    kind, corpus, folder / "queries.npy", folder / "tuned.npy", true, language
                )
        keep(report, found, out)
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--queries", type=int, default=NUM_QUERIES)
    parser.add_argument("--milvus", action="store_true", help="Milvus Lite, beside flat FAISS")
    parser.add_argument("--only", help="titles, separated by semicolons")
    parser.add_argument("--work", type=Path, help="where corpus and stores lie meanwhile")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chosen = MILVUS if given.milvus else KINDS
    if given.only:
        chosen = [kind for kind in chosen if kind.title in given.only.split(";")]
    name = f"{today()}-{KIND}{'-milvus' if given.milvus else ''}-{given.rows}.json"
    work = Path(tempfile.mkdtemp(dir=given.work))
    try:
        run(chosen, given.rows, given.queries, work, given.out or RESULTS / name)
    finally:
        shutil.rmtree(work)
