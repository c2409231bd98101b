"""The compiled ranking of rows equals scipy's mean ranks and a stable sort; bad shapes fail."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from hybrid_fast._core import find_first, rank_rows


@settings(deadline=None)
@given(data=st.data())
def test_equals_scipy_with_ties_and_any_threads(data):
    shape = data.draw(st.tuples(st.integers(0, 6), st.integers(1, 50)))
    elements = st.one_of(
        st.integers(-3, 3).map(float), st.floats(-1, 1, width=32), st.just(-0.0), st.just(np.inf)
    )
    scores = data.draw(arrays.arrays(np.float32, shape, elements=elements))
    num_first = data.draw(st.integers(0, shape[1]))
    ranks, first = rank_rows(scores, num_first, num_threads=data.draw(st.integers(1, 5)))
    assert (ranks.dtype, first.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(ranks, stats.rankdata(-scores, axis=1).reshape(shape))
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(first, order[:, :num_first])
    np.testing.assert_array_equal(find_first(scores, num_first, num_threads=2), first)


def test_long_rows_of_close_scores():
    scores = np.random.default_rng(0).standard_normal((3, 20_000), np.float32)
    ranks, first = rank_rows(scores, 7)
    np.testing.assert_array_equal(ranks, stats.rankdata(-scores, axis=1))
    np.testing.assert_array_equal(first, np.argsort(-scores, axis=1, kind="stable")[:, :7])


@pytest.mark.parametrize(
    ("scores", "num_first", "message"),
    [
        (
            np.zeros(3, np.float32),
            1,
            r"scores is float32 \(3,\); it must be .* float32 with 2 dimensions",
        ),
        (np.zeros((2, 3), np.float32), 4, "num_first is 4; the rows have 3 columns"),
        (np.zeros((2, 3), np.float32), -1, "num_first is -1"),
    ],
)
def test_bad_shapes(scores, num_first, message):
    for function in (rank_rows, find_first):
        with pytest.raises(ValueError, match=message):
            function(scores, num_first)


def test_half_ranks_beyond_what_float32_holds_are_rounded():
    """Two of each score: the mean ranks end in a half, which float32 has up to 2^23."""
    scores = -(np.arange(2**23 + 4) // 2).astype(np.float32)[None]
    ranks, first = rank_rows(scores, 3)
    exact = np.arange(2**22 + 2).repeat(2) * 2 + 1.5
    np.testing.assert_array_equal(ranks[0], exact.astype(np.float32))
    np.testing.assert_array_equal(ranks[0, :-4], exact[:-4])
    assert first.tolist() == [[0, 1, 2]]


def test_threads_and_types():
    with pytest.raises(ValueError, match="num_threads must be at least 1"):
        rank_rows(np.zeros((2, 3), np.float32), 1, num_threads=0)
    for function in (rank_rows, find_first):
        with pytest.raises(TypeError, match=r"scores is float64 \(2, 3\); .* array of float32"):
            function(np.zeros((2, 3)), 1)
        with pytest.raises(TypeError, match=r"scores is float32 \(2, 3\), not C-contiguous"):
            function(np.zeros((2, 6), np.float32)[:, ::2], 1)
