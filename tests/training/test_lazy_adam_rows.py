"""`_core.update_rows`: threads, and arrays that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid_fast import _core


class Table:
    """Arguments of _core.update_rows."""

    def __init__(self, num_rows: int, dim: int, dtype: type = np.float64) -> None:
        self.arrays = [np.ones((num_rows, dim), dtype) for _ in range(3)]
        places = np.arange(num_rows, dtype=np.int32)[::-1].copy()  # of moments, the last row first
        self.integers = [places, *(np.zeros(num_rows, np.int32) for _ in range(2))]

    def set(self, place: int, array) -> None:
        self.arrays[place] = array

    def set_integers(self, place: int, array) -> None:
        self.integers[place] = array

    def update(self, rows, gradient, num_updates=1, num_threads=1, betas=(0.9, 0.999), begin=0):
        _core.update_rows(
            *self.arrays,
            *self.integers,
            history=np.full((num_updates, 3), 0.9),
            begin=begin,
            betas=betas,
            epsilon=1e-8,
            rows=np.array(rows, np.int64),
            gradient=gradient,
            num_threads=num_threads,
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_no_bit(dtype):
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.permutation(9000)[:5000]) for _ in range(3)]
    values = [rng.standard_normal((5000, 149)).astype(dtype) for _ in rows]
    tables = Table(9000, 149, dtype), Table(9000, 149, dtype)
    for table, num_threads in zip(tables, (1, 3), strict=True):
        for step in range(3):
            table.update(rows[step], values[step], step + 1, num_threads)
        table.update(np.arange(9000), None, 5, num_threads)
    assert all(map(np.array_equal, tables[0].arrays, tables[1].arrays))


@pytest.mark.parametrize("rows", [[-1], [4], [2, 2], [3, 1]], ids=str)
def test_rows_of_a_gradient_ascend_within_the_table(rows):
    with pytest.raises(ValueError, match="rows must ascend"):
        Table(4, 2).update(rows, np.ones((len(rows), 2)))


@pytest.mark.parametrize("beta1", [0.99, 0.9**0.5])  # whose square, rounded, is below 0.9
def test_betas_must_fade(beta1):
    with pytest.raises(ValueError, match=r"betas are 0.9\d* and 0.9\d*; betas must have"):
        Table(4, 2).update([1], np.ones((1, 2)), betas=(beta1, 0.9))


def test_a_row_has_an_update_once():
    table = Table(4, 2)
    table.update([1], np.ones((1, 2)))
    with pytest.raises(ValueError, match="row 1 has had update 1 already"):
        table.update([1], np.ones((1, 2)))


@pytest.mark.parametrize("weights", [-1, 2, 9])
def test_steps_that_the_history_does_not_reach_are_errors(weights):
    """A damaged state would otherwise read beside the history."""
    table = Table(4, 2)
    table.integers[1][:] = weights
    for gradient in (None, np.ones((1, 2))):
        message = rf"row 1 has had updates up to {weights}, .* goes on from update 3 to 8"
        with pytest.raises(ValueError, match=message):
            table.update([1], gradient, num_updates=5, begin=3)


@pytest.mark.parametrize("place", [-2, 4])
def test_a_place_beside_the_moments_is_an_error(place):
    table = Table(4, 2)
    table.integers[0][1] = place
    for gradient in (None, np.ones((1, 2))):
        with pytest.raises(ValueError, match=rf"row 1 has its moments at {place} of 4"):
            table.update([1], gradient)


def test_a_row_with_a_gradient_needs_a_place_for_its_moments():
    table = Table(4, 2)
    table.integers[0][1] = -1
    table.update([1], None)
    with pytest.raises(ValueError, match="row 1 has no place for its moments"):
        table.update([1], np.ones((1, 2)))


def test_a_gradient_without_an_update_is_an_error():
    with pytest.raises(ValueError, match="the history has no update to give"):
        Table(4, 2).update([1], np.ones((1, 2)), num_updates=0)


BAD_ARRAYS = {
    "weights of integers": (TypeError, r"weights is int64 \(4, 2\); .*array of float32 or float64",
                            lambda t: t.set(0, np.ones((4, 2), np.int64))),
    "weights with gaps": (TypeError, r"weights is float64 \(4, 2\), not C-contiguous",
                          lambda t: t.set(0, np.ones((4, 4))[:, ::2])),
    "no array": (TypeError, "weights is list; it must be", lambda t: t.set(0, [[1.0]])),
    "moments of another type": (TypeError, r"first_moments is float32 \(4, 2\); .* of float64",
                                lambda t: t.set(1, np.ones((4, 2), np.float32))),
    "moments of another shape": (ValueError, r"first_moments has the shape \(4, 3\); it needs "
                                 r"\(4, 2\), rows as long as those of the weights",
                                 lambda t: t.set(1, np.ones((4, 3)))),
    "unequal moments": (ValueError, r"second_moments has the shape \(5, 2\); it needs "
                        r"\(4, 2\), the shape of the first moments",
                        lambda t: t.set(2, np.ones((5, 2)))),
    "places": (ValueError, r"places has the shape \(5,\); it needs \(4,\), an entry for each",
               lambda t: t.set_integers(0, np.zeros(5, np.int32))),
    "one dimension": (ValueError, r"first_moments is float64 \(8,\); .* with 2 dimensions",
                      lambda t: t.set(1, np.ones(8))),
    "steps": (ValueError, r"weight_steps has the shape \(3,\); it needs \(4,\), an entry for each",
              lambda t: t.set_integers(1, np.zeros(3, np.int32))),
    "steps of another type": (TypeError, r"moment_steps is int64 \(4,\); .* array of int32",
                              lambda t: t.set_integers(2, np.zeros(4, np.int64))),
    "read-only": (ValueError, "weights is read-only",
                  lambda t: t.set(0, np.broadcast_to(np.float64(1), (4, 2)).copy())),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_bad_array_is_named_with_what_it_is(case):
    error, message, spoil = BAD_ARRAYS[case]
    table = Table(4, 2)
    spoil(table)
    if case == "read-only":
        table.arrays[0].flags.writeable = False
    with pytest.raises(error, match=message):
        table.update([1], np.ones((1, 2)))


def test_a_bad_gradient_is_named_with_what_it_is():
    with pytest.raises(
        ValueError, match=r"gradient has the shape \(1, 3\); it needs \(1, 2\), a row"
    ):
        Table(4, 2).update([1], np.ones((1, 3)))
    with pytest.raises(TypeError, match=r"gradient is float32 \(1, 2\); .* array of float64"):
        Table(4, 2).update([1], np.ones((1, 2), np.float32))
