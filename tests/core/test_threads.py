"""Threads that cannot start, memory that runs out, and processes forked after threads ran."""

import re

import numpy as np
import pytest
from core_programs import run_program

from hybrid_fast import _core

ARRAYS = """
import os, resource
import numpy as np
from hybrid_fast import _core
scores = np.random.default_rng(0).standard_normal((64, 40_000), np.float32)
bounds, columns = np.arange(65), np.arange(64)
texts = np.arange(70_001)  # more pieces than one
"""
KERNELS = """
def results():
    index = _core.PlanIndex.build(
        groups=np.arange(50) // 2, languages=(np.arange(50) % 2).astype(np.int32),
        queries=np.arange(50), passages=np.arange(50), uses=np.full(50, 15, np.uint8),
        sources=np.zeros(50, np.int32),
        num_languages=2, num_sources=1)
    return [
        *_core.rank_rows(scores, 3, num_threads=8),
        _core.find_first(scores, 3, num_threads=8),
        *_core.count_ranks(scores, np.array([0, 40_000]), bounds, columns, num_threads=8),
        _core.hash_texts(texts, np.zeros(70_000, np.uint8)),
        np.array([index.num_rows]),
    ]
"""


def test_without_threads_the_caller_does_all():
    """The limit of processes does not count for root, who becomes somebody else."""
    same = run_program(f"""{ARRAYS}{KERNELS}
import threading
expected = results()
if os.geteuid() == 0:
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    threading.Thread(target=print).start()
    print("threads still start")
except RuntimeError:
    print(all(map(np.array_equal, results(), expected)))
""")
    if same == "threads still start":
        pytest.skip("this system does not limit threads by RLIMIT_NPROC")
    assert same == "True"


# Each needs more than the limit leaves: on all threads together, or on one.
GREEDY = {
    "_core.rank_rows(np.zeros((300, 2_000_000 // 300), np.float32), 1, num_threads=300)": None,
    "_core.sum_by_token(texts[:3], texts[:1], np.ones((1, 2), np.float32), 2**33, 1)": (
        r"there is not enough memory for the gradients of 8589934592 tokens, of 3 ids in 1 texts"
    ),
    "_core.sum_by_token(texts[:3], texts[:1], np.ones((1, 2), np.float32), 2**62, 1)": (
        r"there is not enough memory for the gradients of 4611686018427387904 tokens"
    ),
    "_core.rank_rows(wide, 1, num_threads=64)": (
        r"there is not enough memory for a ranking of scores of float32 \(64, 1000000\) on 64"
    ),
}


@pytest.mark.parametrize("call", GREEDY)
def test_memory_that_runs_out_is_a_memory_error_with_sizes(call):
    """Whatever thread it runs out on. With few threads the first call fits."""
    text = run_program(f"""{ARRAYS}
wide = np.zeros((64, 1_000_000), np.float32)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
try:
    {call}
    print("done")
except MemoryError as error:
    print(error)
assert _core.find_first(scores, 1, num_threads=2).shape == (64, 1)
""")
    expected = GREEDY[call]
    assert text == "done" if expected is None else re.match(expected, text), text


def test_a_process_forked_after_threads_ran():
    """As workers of a DataLoader are: no pool, and no lock, stays behind."""
    text = run_program(f"""{ARRAYS}{KERNELS}
expected = results()
if (child := os.fork()) == 0:
    os._exit(0 if all(map(np.array_equal, results(), expected)) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert text == "0"


@pytest.mark.parametrize("num_threads", [0, -1])
def test_the_number_of_threads_is_checked(num_threads):
    table = [np.ones((4, 2)) for _ in range(3)] + [np.zeros(4, np.int32) for _ in range(3)]
    options = {"begin": 0, "betas": (0.9, 0.999), "epsilon": 1e-8, "gradient": np.ones((4, 2))}
    with pytest.raises(ValueError, match=f"num_threads is {num_threads}; at least 1 is needed"):
        _core.update_rows(
            *table,
            history=np.ones((1, 3)),
            rows=np.arange(4),
            num_threads=num_threads,
            **options,
        )
