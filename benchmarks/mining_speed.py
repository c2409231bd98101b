"""Mining hard negatives: minutes and peak of memory by size, on real vectors.

    python benchmarks/mining_speed.py                                      # 100,000 in a million
    python benchmarks/mining_speed.py --queries 5000 --passages 50000      # to try it out

Writes benchmarks/results/DATE-mining-PASSAGES.json, of which `scaling_page.py` makes a table. The
vectors are those of `real_vectors.py`, which stand in for an encoder: what is measured is mining
without encoding. Each query is the vector of its passage with noise, and the pool is all passages.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from machine import ROOT, today
from memory import run_fresh
from real_vectors import keep, new_report

KIND = "mining"
RESULTS = ROOT / "benchmarks" / "results"
NUM_QUERIES, NUM_PASSAGES = 100_000, 1_000_000
INDEXES = ("flat", "ivf-pq")

_MINE = """
import time
import numpy as np
from memory import highest_resident_mib
from real_vectors import NOISE, RealVectors, unit
from hybrid_fast.data import AlignedTable
from hybrid_fast.retrieval.mining import mine_hard_negatives

vectors = RealVectors.load()

class Known:
    # A model of texts that name the row of their vector.
    similarity_fn_name = "cosine"

    def encode_passages(self, texts):
        rows = np.array([int(text.split()[-1]) if text[0] in "pq" else 0 for text in texts])
        found = np.empty((len(rows), vectors.passages.shape[1]), np.float32)
        blocks = rows // 4096
        for block in np.unique(blocks):
            here = blocks == block
            found[here] = vectors.rows(block * 4096, block * 4096 + 4096)[rows[here] % 4096]
        return found

    def encode_queries(self, texts):
        found = self.encode_passages(texts)
        noise = np.random.default_rng(1).standard_normal(found.shape, np.float32)
        return unit(found + noise * (NOISE / found.shape[1] ** 0.5))

step = num_passages // num_queries
table = AlignedTable.from_columns({
    "group_id": [str(row) for row in range(num_passages)],
    "lang": vectors.languages_of(0, num_passages),
    "query": [f"q {row}" if row % step == 0 else None for row in range(num_passages)],
    "passage": [f"p {row}" for row in range(num_passages)],
})
before = highest_resident_mib()
start = time.perf_counter()
mined = mine_hard_negatives(
    Known(), table, languages="pool", ranks=(1, depth), index=index, work_dir=folder
)
took = time.perf_counter() - start
numbers = [len(some or []) for some in mined.dataset["negatives"]]
print(json.dumps({
    "queries": sum(text is not None for text in table.dataset["query"]),
    "minutes": took / 60, "before_mib": before, "peak_mib": highest_resident_mib(),
    "negatives": sum(numbers), "without": sum(n == 0 for n in numbers[::step]),
}))
"""


def measure(index: str, num_queries: int, num_passages: int, depth: int) -> dict[str, Any]:
    """Mine in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_fresh(
            _MINE,
            index=index,
            num_queries=num_queries,
            num_passages=num_passages,
            depth=depth,
            folder=folder,
        )
    return {"title": index, "depth": depth, **found}


def run(indexes: list[str], num_queries: int, num_passages: int, out: Path) -> dict[str, Any]:
    """Measure by index, and write what is known after each."""
    report = new_report(KIND, num_passages, "faiss-cpu")
    for index in indexes:
        found: dict[str, Any] = {"title": index, "skipped": "it failed"}
        with suppress(CalledProcessError):  # whose own output says why
            found = measure(index, num_queries, num_passages, depth=100)
        keep(report, found, out)
    return report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=NUM_QUERIES)
    parser.add_argument("--passages", type=int, default=NUM_PASSAGES)
    parser.add_argument("--only", choices=INDEXES, help="one kind of index")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    out = given.out or RESULTS / f"{today()}-{KIND}-{given.passages}.json"
    indexes = [given.only] if given.only else list(INDEXES)
    run(indexes, given.queries, given.passages, out)
