"""The compiled rank counter equals the definition, and refuses arrays that do not fit together."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hybrid_fast._core import count_ranks

SCORES = np.array([[0.5, 0.75, 0.125, 1.0]], dtype=np.float32)
STARTS, OFFSETS, COLUMNS = np.array([0, 2, 4]), np.array([0, 4]), np.arange(4)


def slow_ranks(scores, starts, offsets, columns):
    block_ranks, row_ranks = [], []
    for row, (begin, end) in enumerate(pairwise(offsets)):
        order = sorted(range(scores.shape[1]), key=lambda k: (-scores[row, k], k))
        for column in columns[begin:end]:
            block = np.searchsorted(starts, column, side="right") - 1
            inside = [k for k in order if starts[block] <= k < starts[block + 1]]
            block_ranks.append(inside.index(column) + 1)
            row_ranks.append(order.index(column) + 1)
    return block_ranks, row_ranks


def test_case_worked_by_hand():
    block_ranks, row_ranks = count_ranks(SCORES, STARTS, OFFSETS, COLUMNS)
    assert block_ranks.tolist() == [2, 1, 2, 1]
    assert row_ranks.tolist() == [3, 2, 4, 1]
    assert block_ranks.dtype == row_ranks.dtype == np.int64


@settings(deadline=None)
@given(data=st.data())
def test_equals_sorting_with_ties_and_any_threads(data):
    shape = data.draw(st.tuples(st.integers(0, 6), st.integers(1, 40)))
    elements = st.integers(-3, 3).map(float)
    scores = data.draw(arrays.arrays(np.float32, shape, elements=elements))
    inner = data.draw(st.lists(st.integers(0, shape[1]), max_size=4))
    starts = np.array([0, *sorted(inner), shape[1]])
    counts = data.draw(st.lists(st.integers(0, 5), min_size=shape[0], max_size=shape[0]))
    offsets = np.cumsum([0, *counts])
    columns = data.draw(arrays.arrays(np.int64, sum(counts), elements=st.integers(0, shape[1] - 1)))
    threads = data.draw(st.integers(1, 5))
    block_ranks, row_ranks = count_ranks(scores, starts, offsets, columns, num_threads=threads)
    assert (block_ranks.tolist(), row_ranks.tolist()) == slow_ranks(
        scores, starts, offsets, columns
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": SCORES[0]}, "scores is .* of float32 with 2 dimensions"),
        (
            {"scores": np.repeat(SCORES, 2, axis=0)},
            "offsets has .*, one entry more than scores has rows",
        ),
        ({"block_starts": STARTS[None]}, "block_starts is .* of int64 with 1 dimension"),
        ({"block_starts": np.array([0, 3])}, "block_starts must rise from 0"),
        ({"block_starts": np.array([0, 5, 3, 4])}, "block_starts must rise from 0"),
        ({"block_starts": np.empty(0, np.int64)}, "block_starts must rise from 0"),
        ({"offsets": np.array([0, 5])}, "offsets must rise from 0"),
        ({"offsets": np.array([1, 4])}, "offsets must rise from 0"),
        ({"columns": np.array([0, 1, 2, 4])}, "column 4 is outside the 4 score columns"),
        ({"columns": np.array([0, 1, 2, -1])}, "column -1 is outside"),
        ({"num_threads": 0}, "num_threads must be at least 1"),
    ],
)
def test_arrays_that_do_not_fit(change, message):
    arguments = {
        "scores": SCORES,
        "block_starts": STARTS,
        "offsets": OFFSETS,
        "columns": COLUMNS,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        count_ranks(**arguments)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": SCORES.astype(np.float64)},
        {"scores": np.repeat(SCORES, 2, axis=1)[:, ::2]},
        {"columns": COLUMNS.astype(np.int32)},
    ],
    ids=["float64", "strided", "int32"],
)
def test_nothing_is_converted_silently(change):
    arguments = {
        "scores": SCORES,
        "block_starts": STARTS,
        "offsets": OFFSETS,
        "columns": COLUMNS,
        **change,
    }
    with pytest.raises(TypeError, match=f"{next(iter(change))} is .*must be a C-contiguous array"):
        count_ranks(**arguments)
