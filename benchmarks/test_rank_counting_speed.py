"""Scoring XQuAD-R (13,090 queries x 13,014 candidates x 384).

`task.score` does it all: checks, product, exact ranks, all three settings, language bias from full
rankings. Baselines on the same embeddings: `Q @ C.T` as one writes it, the same product into memory
that is ready, and the ranks of one setting in plain torch, which sorts each row of the product.
Also, what a comparison of two runs takes: 1,000 bootstrap draws with 10,000 exchanges.
"""

from functools import partial
from itertools import cycle

import numpy as np
import pytest
import torch
from memory import PeakMemory
from side_by_side import side_by_side

from hybrid_fast.evaluation import Candidate, Query, RetrievalTask, compare_runs
from hybrid_fast.evaluation.ranks import Relevants, rank_relevants
from hybrid_fast.retrieval.scores import dot_products

LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")
SIZES = (1222, 1276, 1234, 1180, 1215, 1244, 1219, 852, 1167, 1209, 1196)
NUM_QUESTIONS, DIM = 1190, 384
BLOCK = 512  # queries whose scores are sorted at a time
ROUNDS_S = 33


@pytest.fixture(scope="module")
def task():
    """A task of XQuAD-R's shape: each question is answered by one sentence of each language."""
    ids = [str(number) for number in range(NUM_QUESTIONS)]
    queries = [Query(name, language, "?") for language in LANGUAGES for name in ids]
    candidates = []
    for language, size in zip(LANGUAGES, SIZES, strict=True):
        answered = [[] for _ in range(size)]
        for name, place in zip(ids, cycle(range(size)), strict=False):
            answered[place].append(name)
        candidates += [Candidate("", language, "!", tuple(names)) for names in answered]
    return RetrievalTask("benchmark", queries, candidates)


@pytest.fixture(scope="module")
def embeddings(task):
    rng = np.random.default_rng(0)
    matrices = [
        rng.standard_normal((len(texts), DIM), dtype=np.float32)
        for texts in (task.queries, task.candidates)
    ]
    return [matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in matrices]


def sorted_ranks(relevants, queries, candidates):
    """Ranks in the pool in plain torch; ties in the order of the candidates."""
    queries, candidates = map(torch.from_numpy, (queries, candidates))
    found = []
    for first in range(0, len(queries), BLOCK):
        scores = queries[first : first + BLOCK] @ candidates.T
        order = scores.argsort(dim=1, descending=True, stable=True)
        places = torch.empty_like(order)
        places.scatter_(1, order, torch.arange(1, order.shape[1] + 1).expand_as(order))
        last = first + len(scores)
        begin, end = relevants.offsets[first], relevants.offsets[last]
        rows = torch.from_numpy(relevants.query_rows[begin:end] - first)
        found.append(places[rows, torch.from_numpy(relevants.rows[begin:end])])
    return torch.cat(found).numpy()


def check_ranks(task, embeddings):
    """The gate: ranks of 100 queries equal sorting, on whole numbers, whose products are exact."""
    queries, candidates = (np.rint(matrix * 8) for matrix in embeddings)
    some = Relevants(task.relevants.offsets[:101], task.relevants.rows[:1100])
    ranks = rank_relevants(
        dot_products(queries[:100], candidates), task.candidates.language_starts, some
    )
    expected = sorted_ranks(some, queries[:100], candidates)
    np.testing.assert_array_equal(ranks.in_pool, expected)


def test_score(benchmark, headline, task, embeddings):
    check_ranks(task, embeddings)
    with PeakMemory() as memory:
        results = task.score(*embeddings)
    assert results.counts.pool == 13_014
    queries, candidates = map(torch.from_numpy, embeddings)
    ready = torch.zeros(len(queries), len(candidates))
    ways = {
        "ours": partial(task.score, *embeddings),
        "Q @ C.T alone": lambda: queries @ candidates.T,
        "into ready memory": partial(torch.mm, queries, candidates.T, out=ready),
        "torch.argsort of them": partial(sorted_ranks, task.relevants, *embeddings),
    }
    seconds = side_by_side(benchmark, ways, ROUNDS_S, fewest=2)
    case = "XQuAD-R, 13,090 x 13,014 x 384"
    headline("ranks", case, "s", seconds.pop("ours"), seconds, {"Q @ C.T alone": 1 / 3}, bound=10)
    headline(
        "memory", "scoring XQuAD-R", "MiB", memory.extra_mib,
        {"all scores at once": ready.nbytes / 2**20}, bound=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("num_queries", "num_candidates"),
    [
        (1_000, 100_000),
        *[
            pytest.param(*sizes, marks=pytest.mark.full)
            for sizes in [(10_000, 100_000), (1_000, 1_000_000), (10_000, 1_000_000)]
        ],
    ],
)
def test_cost_grows_linearly(benchmark, headline, num_queries, num_candidates):
    """Queries without translations against candidates of two languages, as in MIRACL."""
    languages = ("de", "en")
    queries = [Query(str(n), languages[n % 2], "?") for n in range(num_queries)]
    candidates = [
        Candidate("", languages[n % 2], "!", (str(n),) if n < num_queries else ())
        for n in range(num_candidates)
    ]
    task = RetrievalTask("large", queries, candidates)
    rng = np.random.default_rng(0)
    matrices = [
        rng.standard_normal((size, DIM), dtype=np.float32) / DIM**0.5
        for size in (num_queries, num_candidates)
    ]
    with PeakMemory() as memory:
        results = benchmark.pedantic(task.score, matrices, rounds=1)
    assert results.counts.pool == num_candidates
    a_score = benchmark.stats.stats.median / num_queries / num_candidates * 1e9
    benchmark.extra_info["peak_extra_mib"] = memory.extra_mib
    headline("ranks", f"{num_queries:,} x {num_candidates:,} x 384", "ns a score", a_score)


def test_comparison(benchmark, headline, task, embeddings):
    queries, candidates = embeddings
    runs = {
        "a": [task.score(queries, candidates).per_query],
        "b": [task.score(-queries, candidates).per_query],
    }
    compared = benchmark.pedantic(compare_runs, [runs], rounds=3)
    assert {each.setting for each in compared.differences} == {"mono", "cross", "multi"}
    case = "two runs compared"
    headline("ranks", case, "s", benchmark.stats.stats.median, bound=10)
