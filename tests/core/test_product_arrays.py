"""Matrices of the core's products: any layout that they take, and what they say of others."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid_fast import _core

NEEDS_BF16 = pytest.mark.skipif(
    not _core.has_bf16_product(), reason="needs AMX or AVX-512 BF16"
)  # fmt: skip
LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: np.asfortranarray(x),
    "gaps": lambda x: np.pad(x, ((0, 0), (1, 2)))[:, 1:-2],
    "rows apart": lambda x: np.repeat(x, 2, axis=0)[::2],
    "columns apart": lambda x: np.repeat(x, 3, axis=1)[:, ::3],
    "both apart": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
    "last row first": lambda x: x[::-1].copy()[::-1],
    "last column first": lambda x: x[:, ::-1].copy()[:, ::-1],
}
SHAPES = [(1, 1, 1), (1, 7, 3), (5, 1, 9), (6, 1, 1), (7, 13, 33), (3, 70, 2), (65, 17, 40)]
FAULTS = {
    "a list": (lambda x: x.tolist(), TypeError, "is list; it must be an array of"),
    "another dtype": (lambda x: x.astype(np.float64), TypeError, r"is float64 \("),
    "another byte order": (lambda x: x.astype(x.dtype.newbyteorder(">")), TypeError, "is >"),
    "a vector": (lambda x: x[0], ValueError, "with 2 dimensions"),
    "three axes": (lambda x: x[None], ValueError, "with 2 dimensions"),
    "part of a record": (
        lambda x: np.ones(x.shape, [("x", x.dtype), ("y", np.uint8)])["x"],
        (TypeError, ValueError),
        "not aligned|lie no whole number",
    ),
}


def whole(rows, columns, seed):
    """Whole numbers from -8 to 8, of whose products every float sum here is exact."""
    return np.random.default_rng(seed).integers(-8, 9, (rows, columns)).astype(np.float32)


def bits(x):
    """Return numbers as bfloat16, which has these, in uint16."""
    return (np.ascontiguousarray(x).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_float_matrices_in_every_layout(left, right):
    for m, n, k in SHAPES:
        a, b = LAYOUTS[left](whole(m, k, 0)), LAYOUTS[right](whole(k, n, 1))
        out = np.full((m, n), np.nan, np.float32)
        _core.multiply_float(a, b, out, add=False, num_threads=2)
        assert np.array_equal(out, a @ b)
        _core.multiply_float(a, b, out, add=True, num_threads=2)
        assert np.array_equal(out, 2 * (a @ b))


def test_a_bias_begins_each_row():
    for m, n, k in SHAPES:
        a, b, bias = whole(m, k, 0), whole(k, n, 1), whole(1, n, 2)[0]
        out = np.full((m, n), np.nan, np.float32)
        _core.multiply_float(a, b, out, add=False, bias=bias, num_threads=2)
        assert np.array_equal(out, a @ b + bias)


@pytest.mark.parametrize(
    ("bias", "add", "message"),
    [
        (np.zeros(4, np.float32), False, r"bias .*\(5"),
        (np.zeros(5, np.float64), False, "bias .*float32"),
        (np.zeros((1, 5), np.float32), False, "bias .*"),
        (np.zeros(5, np.float32), True, "with add there is no bias"),
    ],
)
def test_bad_biases(bias, add, message):
    out = np.ones((3, 5), np.float32)
    with pytest.raises((ValueError, TypeError), match=message):
        _core.multiply_float(whole(3, 4, 0), whole(4, 5, 1), out, add=add, bias=bias, num_threads=1)
    with pytest.raises(ValueError, match="bias shares memory with out"):
        _core.multiply_float(
            whole(3, 4, 0), whole(4, 5, 1), out, add=False, bias=out[0], num_threads=1
        )


def test_a_row_that_is_repeated():
    a, b = np.broadcast_to(whole(1, 9, 0), (7, 9)), np.broadcast_to(whole(9, 1, 1), (9, 20))
    out = np.empty((7, 20), np.float32)
    _core.multiply_float(a, b, out, add=False, num_threads=1)
    assert np.array_equal(out, a @ b)


@pytest.mark.parametrize(("m", "n", "k"), [(0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0)])
def test_empty_float_matrices(m, n, k):
    out = np.full((m, n), np.nan, np.float32)
    _core.multiply_float(whole(m, k, 0), whole(k, n, 1), out, add=False, num_threads=1)
    assert not out.any()


BF16_LAYOUTS = ["rows", "columns", "gaps", "rows apart", "last row first"]


@NEEDS_BF16
@pytest.mark.parametrize("columns", BF16_LAYOUTS)
@pytest.mark.parametrize("rows", BF16_LAYOUTS)
def test_bf16_matrices_in_every_layout(rows, columns):
    for m, n, k in SHAPES:
        a, b = whole(m, k, 0), whole(n, k, 1)
        packed = _core.PackedColumns(LAYOUTS[columns](bits(b)), num_threads=2)
        assert (packed.num_columns, packed.dim) == (n, k)
        out = np.full((m, n), np.nan, np.float32)
        packed.multiply(LAYOUTS[rows](bits(a)), out, add=False, num_threads=2)
        assert np.array_equal(out, a @ b.T)
        packed.multiply(LAYOUTS[rows](bits(a)), out, add=True, num_threads=2)
        assert np.array_equal(out, 2 * (a @ b.T))


@NEEDS_BF16
@pytest.mark.parametrize(("m", "n", "k"), [(0, 3, 2), (3, 0, 2), (3, 2, 0)])
def test_empty_bf16_matrices(m, n, k):
    packed = _core.PackedColumns(bits(whole(n, k, 0)), num_threads=1)
    out = np.full((m, n), np.nan, np.float32)
    packed.multiply(bits(whole(m, k, 1)), out, add=False, num_threads=1)
    assert not out.any()


@NEEDS_BF16
def test_bf16_matrices_whose_numbers_all_lie_apart():
    packed = _core.PackedColumns(np.zeros((6, 8), np.uint16), num_threads=1)
    apart = np.zeros((12, 16), np.uint16)[::2, ::2]
    message = "has rows 32 and columns 2 numbers apart; those of either must lie side by side"
    with pytest.raises(ValueError, match=f"columns {message}"):
        _core.PackedColumns(apart, num_threads=1)
    with pytest.raises(ValueError, match=f"rows {message}"):
        packed.multiply(apart, np.zeros((6, 6), np.float32), add=False, num_threads=1)


@NEEDS_BF16
def test_more_numbers_than_there_is_memory():
    many = np.broadcast_to(np.zeros((1, 1), np.uint16), (1, 2**61))
    with pytest.raises(MemoryError, match=r"packed columns of \(1, 2305843009213693952\)"):
        _core.PackedColumns(many, num_threads=1)


@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_matrices_that_are_searched_in_every_layout(left, right):
    for m, n, k in SHAPES:
        queries, candidates = whole(m, k, 0), whole(n, k, 1)
        scores, rows = _core.search(
            LAYOUTS[left](queries), LAYOUTS[right](candidates), n, num_threads=2
        )
        products = queries @ candidates.T
        assert np.array_equal(rows, np.argsort(-products, axis=1, kind="stable"))
        assert np.array_equal(scores, np.take_along_axis(products, rows, axis=1))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["queries", "candidates"])
def test_bad_matrices_to_search(name, fault):
    change, error, message = FAULTS[fault]
    given = {"queries": whole(3, 4, 0), "candidates": whole(5, 4, 1)}
    given[name] = change(given[name])
    with pytest.raises(error, match=rf"^{name} .*({message})"):
        _core.search(**given, k=1, num_threads=1)


@pytest.mark.parametrize(
    ("dim", "k", "message"),
    [
        (3, 1, "queries have 4 columns and candidates 3; they must be as many"),
        (4, 6, "k is 6; there are 5 candidates"),
        (4, -1, "k is -1; there are 5 candidates"),
    ],
)
def test_matrices_that_cannot_be_searched(dim, k, message):
    with pytest.raises(ValueError, match=message):
        _core.search(whole(3, 4, 0), whole(5, dim, 1), k, num_threads=1)
    with pytest.raises(ValueError, match="num_threads is 0"):
        _core.search(whole(3, 4, 0), whole(5, 4, 1), 1, num_threads=0)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["a", "b"])
def test_bad_float_matrices(name, fault):
    change, error, message = FAULTS[fault]
    given = {"a": whole(3, 4, 0), "b": whole(4, 5, 1)}
    given[name] = change(given[name])
    with pytest.raises(error, match=rf"^{name} .*({message})"):
        _core.multiply_float(**given, out=np.ones((3, 5), np.float32), add=False, num_threads=1)


@NEEDS_BF16
@pytest.mark.parametrize("fault", FAULTS)
def test_bad_bf16_matrices(fault):
    change, error, message = FAULTS[fault]
    bad = change(np.zeros((3, 4), np.uint16))
    with pytest.raises(error, match=rf"^columns .*({message})"):
        _core.PackedColumns(bad, num_threads=1)
    packed = _core.PackedColumns(np.zeros((5, 4), np.uint16), num_threads=1)
    with pytest.raises(error, match=rf"^rows .*({message})"):
        packed.multiply(bad, np.ones((3, 5), np.float32), add=False, num_threads=1)


BAD_RESULTS = {
    "a list": (lambda x: x.tolist(), TypeError, "is list"),
    "another dtype": (lambda x: x.astype(np.float64), TypeError, "is float64"),
    "transposed": (np.asfortranarray, TypeError, "not C-contiguous"),
    "another shape": (lambda x: x[:-1], ValueError, r"the shape \(2, 5\); it needs \(3, 5\)"),
    "a vector": (lambda x: x.ravel(), ValueError, "with 2 dimensions"),
}


@pytest.mark.parametrize("fault", BAD_RESULTS)
def test_bad_results(fault):
    change, error, message = BAD_RESULTS[fault]
    out = change(np.ones((3, 5), np.float32))
    with pytest.raises(error, match=rf"^out .*{message}"):
        _core.multiply_float(whole(3, 4, 0), whole(4, 5, 1), out, add=False, num_threads=1)
    if _core.has_bf16_product():
        packed = _core.PackedColumns(np.zeros((5, 4), np.uint16), num_threads=1)
        with pytest.raises(error, match=rf"^out .*{message}"):
            packed.multiply(np.zeros((3, 4), np.uint16), out, add=False, num_threads=1)


def test_results_of_their_own():
    memory = np.zeros((4, 4), np.float32)
    for a, b in ((memory, memory.copy()), (memory.copy(), memory[:, ::-1])):
        with pytest.raises(ValueError, match=r"^out shares memory with [ab]; what"):
            _core.multiply_float(a, b, memory, add=False, num_threads=1)
    memory.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        _core.multiply_float(memory, memory, memory, add=False, num_threads=1)


def test_factors_that_do_not_fit():
    out = np.zeros((3, 5), np.float32)
    with pytest.raises(ValueError, match="a has 4 columns and b 6 rows; they must be as many"):
        _core.multiply_float(whole(3, 4, 0), whole(6, 5, 1), out, add=False, num_threads=1)
    for num_threads in (0, -1):
        with pytest.raises(ValueError, match=f"num_threads is {num_threads}"):
            _core.multiply_float(
                whole(3, 4, 0), whole(4, 5, 1), out, add=False, num_threads=num_threads
            )
