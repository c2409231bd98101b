"""What the kernels of the loss say of arrays that they cannot take; nothing beside one is read."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid_fast import _core

ROWS, COLUMNS, DIM = 3, 5, 4
NEEDS_BF16 = pytest.mark.skipif(
    not _core.has_bf16_product(), reason="needs AMX or AVX-512 BF16"
)  # fmt: skip

RULES = {
    "query_groups": np.arange(ROWS),
    "passage_groups": np.arange(COLUMNS),
    "query_passage_ids": np.arange(ROWS),
    "passage_ids": np.arange(COLUMNS),
    "mask": np.zeros((ROWS, COLUMNS), bool),
    "excluded_columns": np.zeros(COLUMNS, bool),
    "owners": np.full(COLUMNS, -1),
    "in_batch": np.ones(ROWS, bool),
}
PAIRS = {
    "query_groups": "passage_groups",
    "passage_groups": "query_groups",
    "query_passage_ids": "passage_ids",
    "passage_ids": "query_passage_ids",
}


def row_arguments() -> dict:
    """Arguments of `_core.contrast_rows` for a gradient of both directions."""
    return {
        "scores": np.zeros((ROWS, COLUMNS), np.float32),
        "positives": np.arange(ROWS),
        "negative_mask": None,
        "logit_scale": 1.0,
        "num_threads": 1,
        "coefficients": np.ones(ROWS, np.float32),
        "column_lse": np.ones(COLUMNS, np.float32),
        "column_coefficients": np.ones(COLUMNS, np.float32),
    }


def column_arguments() -> dict:
    """Arguments of `_core.add_column_sums`."""
    return {
        "scores": np.zeros((ROWS, COLUMNS), np.float32),
        "positives": np.arange(ROWS),
        "negative_mask": None,
        "logit_scale": 1.0,
        "sums": np.zeros((2, COLUMNS), np.float32),
        "num_threads": 1,
    }


def bf16_arguments() -> dict:
    """Arguments of `_core.contrast_bf16_rows`."""
    given = row_arguments()
    del given["scores"]
    passages = _core.PackedColumns(np.zeros((COLUMNS, DIM), np.uint16), num_threads=1)
    queries, gradient = np.zeros((ROWS, DIM), np.uint16), np.zeros((ROWS, COLUMNS), np.uint16)
    return {"queries": queries, "passages": passages, **given, "gradient": gradient}


def positive_arguments() -> dict:
    """Arguments of `_core.add_positives`."""
    return {
        "weights": np.ones(ROWS, np.float32),
        "vectors": np.zeros((COLUMNS, DIM), np.uint16),
        "sums": np.zeros((COLUMNS, DIM), np.float32),
        "num_threads": 1,
        "from_rows": np.array([0, COLUMNS - 1, 1]),
        "into_rows": np.array([0, COLUMNS - 1, 1]),
    }


CALLS = {
    "contrast_rows": row_arguments,
    "add_column_sums": column_arguments,
    "contrast_bf16_rows": bf16_arguments,
    "add_positives": positive_arguments,
}
ARRAYS = {
    "contrast_rows": ["scores", "positives", "coefficients", "column_lse", "column_coefficients"],
    "add_column_sums": ["scores", "positives", "sums"],
    "contrast_bf16_rows": ["queries", "positives", "coefficients", "column_lse",
                           "column_coefficients", "gradient"],
    "add_positives": ["weights", "vectors", "sums", "from_rows", "into_rows"],
}  # fmt: skip
WRITTEN = [
    ("contrast_rows", "scores"),
    ("add_column_sums", "scores"),
    ("add_column_sums", "sums"),
    pytest.param("contrast_bf16_rows", "gradient", marks=NEEDS_BF16),
    ("add_positives", "sums"),
]
READ = [
    pytest.param(call, name, marks=NEEDS_BF16 if call == "contrast_bf16_rows" else ())
    for call, names in ARRAYS.items()
    for name in names
]


def strided(array: np.ndarray) -> np.ndarray:
    """Return the same numbers, every other of twice as many."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


def unaligned(array: np.ndarray) -> np.ndarray:
    """Return the same numbers, which do not lie at multiples of their size."""
    return (
        np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    )


WRONG_SIZE = "has the shape|has row"
GIVE_SIZES = {"scores", "queries", "weights", "vectors", "sums"}  # others then do not fit
# What an array becomes, and the error that its name stands in.
FAULTS = {
    "a list": (lambda x: x.tolist(), TypeError, "is list; it must be"),
    "bytes": (lambda x: x.tobytes(), TypeError, "is bytes; it must be"),
    "another dtype": (lambda x: x.astype(np.complex64), TypeError, r"is complex64 \("),
    "signed bits": (lambda x: x.view(f"i{x.itemsize}" if x.dtype.kind != "i" else f"u{x.itemsize}"),
                    TypeError, r"is u?int\d\d? \("),
    "another byte order": (lambda x: x.astype(x.dtype.newbyteorder(">")), TypeError, "is >"),
    "every other": (strided, TypeError, "not C-contiguous"),
    "not aligned": (unaligned, TypeError, "not aligned"),
    "one axis more": (lambda x: x[None], ValueError, r"with \d dimension"),
    "a number": (lambda x: np.array(x.flat[0]), ValueError, r"with \d dimension"),
    "too few": (lambda x: x[:-1].copy(), ValueError, WRONG_SIZE),
    "none": (lambda x: x[:0].copy(), ValueError, WRONG_SIZE),
    "too many": (lambda x: np.concatenate([x, x]), ValueError, WRONG_SIZE),
}  # fmt: skip


def refused(call: str, error: type[Exception], message: str, **given) -> None:
    with pytest.raises(error, match=message):
        getattr(_core, call)(**CALLS[call]() | given)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("call", "name"), READ)
def test_an_array_that_does_not_fit(call, name, fault):
    change, error, message = FAULTS[fault]
    given = change(CALLS[call]()[name])
    if message != WRONG_SIZE or name not in GIVE_SIZES:
        refused(call, error, rf"^{name} .*({message})", **{name: given})
    elif call == "add_positives" and fault == "too many" and name != "weights":
        getattr(_core, call)(**CALLS[call]() | {name: given})  # rows that are not used
    else:
        refused(call, error, message, **{name: given})


@pytest.mark.parametrize(("call", "name"), WRITTEN)
def test_what_is_written_is_not_read_only(call, name):
    array = CALLS[call]()[name]
    array.flags.writeable = False
    refused(call, ValueError, f"{name} is read-only", **{name: array})


def test_arrays_that_are_written_share_no_memory():
    """Positives that a kernel overwrites would no longer be columns."""
    memory = np.zeros(64, np.int64)
    numbers = memory.view(np.float32)
    scores = numbers[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    message = "shares memory with scores; what is written needs memory of its own"
    refused("contrast_rows", ValueError, f"positives {message}",
            scores=scores, positives=memory[:ROWS])  # fmt: skip
    for name, size in (("coefficients", ROWS), ("column_lse", COLUMNS)):
        refused("contrast_rows", ValueError, f"{name} {message}",
                scores=scores, **{name: numbers[ROWS * COLUMNS - 1 :][:size]})  # fmt: skip
    refused("add_column_sums", ValueError, f"sums {message}",
            scores=scores, sums=numbers[: 2 * COLUMNS].reshape(2, COLUMNS))  # fmt: skip
    mask = memory.view(bool)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    refused("contrast_rows", ValueError, f"mask {message}", scores=scores,
            negative_mask=_core.NegativeMask(ROWS, COLUMNS, mask=mask))  # fmt: skip
    beside = numbers[ROWS * COLUMNS :][:ROWS]
    _core.contrast_rows(**row_arguments() | {"scores": scores, "coefficients": beside})
    sums = numbers[: COLUMNS * DIM].reshape(COLUMNS, DIM)
    refused("add_positives", ValueError, "sums shares memory with weights",
            weights=numbers[:ROWS], sums=sums)  # fmt: skip


def test_the_type_of_the_scores_is_that_of_all_numbers():
    refused("contrast_rows", TypeError, "coefficients is float32 .* of float64",
            scores=np.zeros((ROWS, COLUMNS)))  # fmt: skip
    refused("contrast_rows", TypeError, "scores is float16 .* of float32 or float64",
            scores=np.zeros((ROWS, COLUMNS), np.float16))  # fmt: skip
    numbers = {name: value.astype(np.float64) for name, value in row_arguments().items()
               if isinstance(value, np.ndarray) and value.dtype == np.float32}  # fmt: skip
    losses, dots = _core.contrast_rows(**row_arguments() | numbers)
    assert losses.dtype == dots.dtype == np.float64


@pytest.mark.parametrize("column", [-1, COLUMNS, 2**62, -(2**63)])
def test_positives_that_are_no_columns(column):
    positives = np.array([0, column, 1])
    message = f"positives has column {column}; they must be columns of passages, 0 to 4"
    for call in ("contrast_rows", "add_column_sums"):
        refused(call, ValueError, message, positives=positives)
    if _core.has_bf16_product():
        refused("contrast_bf16_rows", ValueError, message, positives=positives)
    refused("contrast_rows", ValueError, "positives has column 0", positives=np.zeros(2, int),
            scores=np.zeros((2, 0), np.float32), coefficients=None, column_lse=None,
            column_coefficients=None)  # fmt: skip


@pytest.mark.parametrize("name", ["from_rows", "into_rows"])
def test_rows_that_are_not_there(name):
    for row in (-1, COLUMNS, 2**62):
        message = f"{name} has row {row}; .* has rows 0 to 4"
        refused("add_positives", ValueError, message, **{name: np.array([0, row, 1])})
    weights = np.ones(COLUMNS + 1, np.float32)
    others = {"from_rows": np.zeros(6, int), "into_rows": np.zeros(6, int), name: None}
    refused("add_positives", ValueError, "has 5 rows; weights has 6", weights=weights, **others)


def test_arguments_that_need_each_other():
    for name in ("column_lse", "column_coefficients"):
        refused("contrast_rows", ValueError, f"is given without {name}", **{name: None})
    refused("contrast_rows", ValueError, "column_lse is given without coefficients",
            coefficients=None)  # fmt: skip


@NEEDS_BF16
def test_a_gradient_of_bfloat16_needs_coefficients():
    for name in ("coefficients", "gradient"):
        refused("contrast_bf16_rows", ValueError, "is given without", **{name: None})
    refused("contrast_bf16_rows", TypeError, "passages is ndarray; it must be PackedColumns",
            passages=np.zeros((COLUMNS, DIM), np.uint16))  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_no_threads(call):
    if call == "contrast_bf16_rows" and not _core.has_bf16_product():
        pytest.skip("this processor has no products of bfloat16 (AMX or AVX-512 BF16)")
    for num_threads in (0, -1):
        refused(call, ValueError, f"num_threads is {num_threads}", num_threads=num_threads)


# A byte is always aligned, and has one order.
FAULTS_OF_BYTES = FAULTS.keys() - {"not aligned", "another byte order"}
FAULTS_OF_RULES = [
    (name, fault)
    for name, rule in RULES.items()
    for fault in FAULTS
    if rule.itemsize > 1 or fault in FAULTS_OF_BYTES
]


@pytest.mark.parametrize(("name", "fault"), FAULTS_OF_RULES)
def test_a_rule_that_does_not_fit(name, fault):
    change, error, message = FAULTS[fault]
    if name == "mask" and fault == "every other":
        error, message = ValueError, "has columns 2 bytes apart; those of a row must lie side by"
    with pytest.raises(error, match=rf"^{name} .*({message})"):
        _core.NegativeMask(ROWS, COLUMNS, **RULES | {name: change(RULES[name])})


@pytest.mark.parametrize("name", PAIRS)
def test_rules_of_two_arrays(name):
    with pytest.raises(ValueError, match=f"{name} is given without {PAIRS[name]}; they need each"):
        _core.NegativeMask(ROWS, COLUMNS, **{name: RULES[name]})


def test_a_margin_is_a_number():
    with pytest.raises(ValueError, match="margin is not a number"):
        _core.NegativeMask(ROWS, COLUMNS, margin=float("nan"))
    with pytest.raises(TypeError):
        _core.NegativeMask(ROWS, COLUMNS, margin="0.1")


def test_a_mask_of_other_rows():
    message = r"negative_mask is of 3 rows and 6 columns; there are 3 rows and 5 columns"
    refused("contrast_rows", ValueError, message, negative_mask=_core.NegativeMask(3, 6))
    refused("add_column_sums", ValueError, "negative_mask is of 2 rows and 5 columns",
            negative_mask=_core.NegativeMask(2, 5))  # fmt: skip
    refused("contrast_rows", TypeError, "negative_mask is dict; it must be a NegativeMask or None",
            negative_mask={"margin": 0.1})  # fmt: skip


def losses_of(mask: _core.NegativeMask) -> np.ndarray:
    scores = np.random.default_rng(0).random((ROWS, COLUMNS), np.float32)
    return _core.contrast_rows(scores, np.arange(ROWS), mask, logit_scale=1.0, num_threads=1)[0]


def test_a_mask_keeps_its_arrays():
    rules = {name: array.copy() for name, array in RULES.items()}
    mask = _core.NegativeMask(ROWS, COLUMNS, **rules, margin=0.1)
    expected = losses_of(mask)
    rules.clear()
    others = [np.ones(size, np.int64) for size in range(1, 50)]  # in their memory, if it is free
    assert np.array_equal(losses_of(mask), expected)
    assert len(others) == 49


@pytest.mark.parametrize("rows", [slice(None), slice(None, None, 2), slice(None, None, -1)])
def test_rows_of_a_mask_may_lie_apart(rows):
    wide = np.random.default_rng(1).random((2 * ROWS, COLUMNS + 2)) < 0.5
    part = wide[rows][:ROWS, 1 : 1 + COLUMNS]
    apart = _core.NegativeMask(ROWS, COLUMNS, mask=part)
    together = _core.NegativeMask(ROWS, COLUMNS, mask=np.ascontiguousarray(part))
    assert np.array_equal(losses_of(apart), losses_of(together))
    assert (apart.num_rows, apart.num_columns) == (ROWS, COLUMNS)
