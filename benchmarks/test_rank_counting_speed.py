"""Scoring XQuAD-R (13,090 queries x 13,014 candidates x 384) against its one float32 product.

Run: `pytest benchmarks/test_rank_counting_speed.py --benchmark-only`. Three timings on the same
input in one group: `Q @ C.T` as one writes it, the same product into memory that is ready, and
`task.score` (checks, product, ranks, all three settings, language bias from full rankings). The
aim: at most 10 s on two cores, under 300 MB of extra memory; and 1,000 bootstrap draws with 10,000
exchanges between two runs at most 10 s more. Timings drift on a shared machine, so the ratio is
measured apart, alternating product and score, and reported as the median over rounds in
`extra_info`.
"""

import time
from itertools import cycle
from statistics import median

import numpy as np
import pytest
import torch
from memory import PeakMemory

from hybrid_fast.evaluation import Candidate, Query, RetrievalTask, compare_runs
from hybrid_fast.evaluation.ranks import Relevants, rank_relevants
from hybrid_fast.retrieval.scores import dot_products

SIZES = (1222, 1276, 1234, 1180, 1215, 1244, 1219, 852, 1167, 1209, 1196)
NUM_QUESTIONS, DIM, ROUNDS = 1190, 384, 7
GROUP = "score 13,090 x 13,014 x 384"


@pytest.fixture(scope="module")
def task():
    """A task of XQuAD-R's shape: each question is answered by one sentence of each language."""
    ids = [str(number) for number in range(NUM_QUESTIONS)]
    languages = [f"l{number:02}" for number in range(len(SIZES))]
    queries = [Query(name, language, "") for language in languages for name in ids]
    candidates = []
    for language, size in zip(languages, SIZES, strict=True):
        answered = [[] for _ in range(size)]
        for name, place in zip(ids, cycle(range(size)), strict=False):
            answered[place].append(name)
        candidates += [Candidate("", language, "", tuple(names)) for names in answered]
    return RetrievalTask("benchmark", queries, candidates)


@pytest.fixture(scope="module")
def embeddings(task):
    rng = np.random.default_rng(0)
    matrices = [
        rng.standard_normal((len(texts), DIM), dtype=np.float32)
        for texts in (task.queries, task.candidates)
    ]
    return [matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in matrices]


def test_product(benchmark, embeddings):
    benchmark.group = GROUP
    queries, candidates = map(torch.from_numpy, embeddings)
    scores = benchmark.pedantic(lambda: queries @ candidates.T, rounds=3, warmup_rounds=1)
    assert scores.shape == (13_090, 13_014)


def test_product_into_ready_memory(benchmark, embeddings):
    benchmark.group = GROUP
    queries, candidates = map(torch.from_numpy, embeddings)
    scores = torch.zeros(len(queries), len(candidates))
    benchmark.pedantic(
        torch.mm, (queries, candidates.T), {"out": scores}, rounds=3, warmup_rounds=1
    )
    assert scores.any()


def test_score(benchmark, task, embeddings):
    benchmark.group = GROUP
    check_ranks(task, embeddings)
    with PeakMemory() as memory:
        task.score(*embeddings)
    results = benchmark.pedantic(task.score, embeddings, rounds=3)
    assert results.counts.pool == 13_014
    benchmark.extra_info |= {
        "peak_extra_mib": memory.extra_mib,
        "median_ratio_to_product": median(measure_ratios(task, embeddings)),
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


@pytest.mark.parametrize(
    ("num_queries", "num_candidates"),
    [(1_000, 100_000), (10_000, 100_000), (1_000, 1_000_000), (10_000, 1_000_000)],
)
def test_cost_grows_linearly(benchmark, num_queries, num_candidates):
    """Queries without translations against candidates of two languages, as in MIRACL."""
    languages = ("aa", "bb")
    queries = [Query(str(n), languages[n % 2], "") for n in range(num_queries)]
    candidates = [
        Candidate("", languages[n % 2], "", (str(n),) if n < num_queries else ())
        for n in range(num_candidates)
    ]
    task = RetrievalTask("large", queries, candidates)
    rng = np.random.default_rng(0)
    query_matrix, candidate_matrix = (
        rng.standard_normal((size, DIM), dtype=np.float32) / DIM**0.5
        for size in (num_queries, num_candidates)
    )
    benchmark.group = "score, by size"
    with PeakMemory() as memory:
        results = benchmark.pedantic(task.score, (query_matrix, candidate_matrix), rounds=1)
    assert results.counts.pool == num_candidates
    benchmark.extra_info |= {
        "nanoseconds_a_score": benchmark.stats.stats.median / num_queries / num_candidates * 1e9,
        "peak_extra_mib": memory.extra_mib,
    }


def test_comparison(benchmark, task, embeddings):
    benchmark.group = "compare two runs, 1,000 draws and 10,000 exchanges"
    queries, candidates = embeddings
    runs = {
        "a": [task.score(queries, candidates).per_query],
        "b": [task.score(-queries, candidates).per_query],
    }
    compared = benchmark.pedantic(compare_runs, [runs], rounds=3)
    assert {row["setting"] for row in compared["differences"]} == {"mono", "cross", "multi"}


def check_ranks(task, embeddings):
    """The gate: ranks of 100 queries equal sorting, on whole numbers, whose products are exact."""
    queries, candidates = (np.rint(matrix * 8) for matrix in embeddings)
    some = Relevants(task.relevants.offsets[:101], task.relevants.rows[:1100])
    ranks = rank_relevants(
        dot_products(queries[:100], candidates), task.candidates.language_starts, some
    )
    order = np.argsort(-(queries[:100] @ candidates.T), axis=1, kind="stable")
    places = np.argsort(order, axis=1) + 1
    np.testing.assert_array_equal(ranks.in_pool, places[some.query_rows, some.rows])


def measure_ratios(task, embeddings):
    queries, candidates = map(torch.from_numpy, embeddings)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        product = queries @ candidates.T
        middle = time.perf_counter()
        del product
        after = time.perf_counter()
        task.score(*embeddings)
        yield (time.perf_counter() - after) / (middle - start)
