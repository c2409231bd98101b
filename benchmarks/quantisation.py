"""What a vector costs in bytes, and what that costs in recall, on real vectors.

    python benchmarks/quantisation.py                  # a million rows; 6 GiB of memory
    python benchmarks/quantisation.py --rows 50000     # to try it out

Writes benchmarks/results/DATE-quantisation-ROWS.json, whole after each code; `scaling_page.py`
makes a table of it. Vectors are those of `real_vectors.py`. All codes are compared with every query
(no index leaves any out), so what is lost is lost by the code. "Rescored" takes the first 100 by
codes and orders them by exact products.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from machine import ROOT, today
from real_vectors import RealVectors, keep, new_report
from store_speed import DEPTH, NUM_QUERIES, NUM_ROWS, recall, true_rows

KIND = "quantisation"
RESULTS = ROOT / "benchmarks" / "results"
NUM_RESCORED = 100
NUM_TRAINED = 65_536
STEP = 65_536
# Title to the factory string of FAISS.
CODES = {
    "float32": "Flat",
    "float16": "SQfp16",
    "8 bits a number": "SQ8",
    "4 bits a number": "SQ4",
    "PQ, D/2 bytes": "PQ{half}",
    "PQ, D/4 bytes": "PQ{quarter}",
    "PQ, D/8 bytes": "PQ{eighth}",
    "OPQ, D/8 bytes": "OPQ{eighth},PQ{eighth}",
    "1 bit a number, by the median": "LSHt",
}


def factory_of(code: str, dimension: int) -> str:
    return code.format(half=dimension // 2, quarter=dimension // 4, eighth=dimension // 8)


def rescored(vectors: RealVectors, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return found rows (n, k) of each query by exact products, the best first."""
    wanted, places = np.unique(rows, return_inverse=True)
    kept = np.empty((len(wanted), queries.shape[1]), np.float32)
    for start in range(0, int(wanted[-1]) + 1, STEP):
        first, last = np.searchsorted(wanted, (start, start + STEP))
        if last > first:
            part = vectors.rows(start, start + STEP)
            kept[first:last] = part[wanted[first:last] - start]
    scores = np.einsum("nd,nkd->nk", queries, kept[places.reshape(rows.shape)])
    return np.take_along_axis(rows, np.argsort(-scores, axis=1, kind="stable"), 1)


def measure(
    vectors: RealVectors, queries: np.ndarray, true: np.ndarray, size: int, title: str
) -> dict[str, Any]:
    """Encode all rows by one code and search them."""
    dimension = queries.shape[1]
    factory = factory_of(CODES[title], dimension)
    # Of vectors of norm 1 both orders are one; signs know that of distances alone.
    is_signs = factory.startswith("LSH")
    metric = faiss.METRIC_L2 if is_signs else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(dimension, factory, metric)
    start = time.perf_counter()
    if not index.is_trained:
        index.train(vectors.rows(0, min(size, NUM_TRAINED)))
    trained_s = time.perf_counter() - start
    for first in range(0, size, STEP):
        index.add(vectors.rows(first, min(first + STEP, size)))
    start = time.perf_counter()
    _, rows = index.search(queries, min(NUM_RESCORED, size))
    search_s = time.perf_counter() - start
    return {
        "title": title,
        "factory": factory,
        "bytes_a_vector": index.sa_code_size(),
        "train_s": trained_s,
        "queries_s": len(queries) / search_s,
        "recall": recall(rows[:, :DEPTH].tolist(), true),
        "recall_rescored": recall(rescored(vectors, queries, rows)[:, :DEPTH].tolist(), true),
    }


def run(codes: list[str], size: int, num_queries: int, out: Path) -> dict[str, Any]:
    """Measure codes and write what is known after each."""
    vectors = RealVectors.load()
    chosen = np.random.default_rng(0).choice(len(vectors.queries), num_queries, replace=False)
    queries = vectors.queries[np.sort(chosen)]
    true = true_rows(vectors, queries, size)
    report = new_report(
        KIND,
        size,
        "faiss-cpu",
        dimension=queries.shape[1],
        real_rows=len(vectors.passages),
        queries=num_queries,
    )
    for title in codes:
        found = measure(vectors, queries, true, size, title)
        keep(report, found, out)
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--queries", type=int, default=NUM_QUERIES)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or RESULTS / f"{today()}-{KIND}-{given.rows}.json"
    run(list(CODES), given.rows, given.queries, out)
