"""What the C++ core says of arrays that it cannot take: what was given, and what is needed."""

from __future__ import annotations

import numpy as np
import pytest

from hybrid_fast import _core

IDS, OFFSETS, ROWS = np.arange(5, dtype=np.uint16), np.array([0, 2, 5]), np.array([1])
COLUMNS = {
    "groups": np.arange(4),
    "languages": np.zeros(4, np.int32),
    "queries": np.arange(4),
    "passages": np.arange(4),
    "uses": np.ones(4, np.uint8),
    "sources": np.zeros(4, np.int32),
}


def unaligned(array: np.ndarray) -> np.ndarray:
    """Return a copy whose numbers do not lie at multiples of their size."""
    data = np.frombuffer(b"\0" + array.tobytes(), np.uint8)
    return data[1:].view(array.dtype)


BAD_TOKENS = {
    "ids of 64 bits": (TypeError, r"ids is int64 \(5,\); .* array of uint16 or int32 with 1 dim",
                       (IDS.astype(np.int64), OFFSETS, ROWS)),
    "a matrix": (ValueError, r"ids is uint16 \(1, 5\); .* with 1 dimension",
                 (IDS[None], OFFSETS, ROWS)),
    "every other": (TypeError, r"ids is uint16 \(3,\), not C-contiguous",
                    (IDS[::2], OFFSETS, ROWS)),
    "another byte order": (TypeError, r"ids is >u2 \(5,\); .*uint16 or int32",
                           (IDS.astype(">u2"), OFFSETS, ROWS)),
    "a list": (TypeError, "ids is list; it must be", ([0, 1], OFFSETS, ROWS)),
    "floating offsets": (TypeError, r"offsets is float64 \(3,\); .* of int64",
                         (IDS, OFFSETS.astype(float), ROWS)),
    "no offsets": (ValueError, "offsets is empty; it needs one entry more",
                   (IDS, OFFSETS[:0], ROWS)),
    "rows of 32 bits": (TypeError, r"rows is int32 \(1,\); .* of int64",
                        (IDS, OFFSETS, ROWS.astype(np.int32))),
    "not aligned": (TypeError, r"offsets is int64 \(3,\), not aligned",
                    (IDS, unaligned(OFFSETS), ROWS)),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TOKENS)
def test_bad_tokens(case):
    error, message, arguments = BAD_TOKENS[case]
    with pytest.raises(error, match=message):
        _core.take_tokens(*arguments)
    with pytest.raises(error, match=message):
        _core.pad_tokens(*arguments, 4, 0)


def test_a_negative_length():
    with pytest.raises(ValueError, match="length is -1; at least 0 is needed"):
        _core.pad_tokens(IDS, OFFSETS, ROWS, -1, 0)


def test_bad_gradients_of_tokens():
    ids, offsets, gradient = np.array([1, 2]), np.array([0]), np.ones((1, 3))
    with pytest.raises(TypeError, match=r"ids is int32 \(2,\); .* of int64"):
        _core.sum_by_token(ids.astype(np.int32), offsets, gradient, 5, num_threads=1)
    with pytest.raises(TypeError, match=r"gradient is float16 \(1, 3\); .* float32 or float64"):
        _core.sum_by_token(ids, offsets, gradient.astype(np.float16), 5, num_threads=1)
    with pytest.raises(ValueError, match="vocab_size is -1; at least 0 is needed"):
        _core.sum_by_token(ids, offsets, gradient, -1, num_threads=1)
    with pytest.raises(ValueError, match="num_threads is 0; at least 1 is needed"):
        _core.sum_by_token(ids, offsets, gradient, 5, num_threads=0)


def test_bad_texts_to_hash():
    with pytest.raises(TypeError, match=r"data is int8 \(5,\); .* of uint8"):
        _core.hash_texts(OFFSETS, np.zeros(5, np.int8))
    with pytest.raises(ValueError, match="offsets is empty"):
        _core.hash_texts(OFFSETS[:0], np.zeros(5, np.uint8))


def test_bad_questions_of_ranks():
    scores, starts = np.zeros((2, 3), np.float32), np.array([0, 3])
    with pytest.raises(
        ValueError, match=r"offsets has the shape \(2,\); it needs \(3,\), one entry"
    ):
        _core.count_ranks(scores, starts, np.array([0, 1]), np.array([1]))
    with pytest.raises(TypeError, match=r"columns is float64 \(1,\); .* of int64"):
        _core.count_ranks(scores, starts, np.array([0, 1, 1]), np.array([1.0]))


def test_bad_numbers_to_drop():
    values, options = np.ones(5, np.float32), {"rate": 0.5, "seed": 1, "num_threads": 1}
    with pytest.raises(TypeError, match=r"values is float64 \(5,\); .* float32, or uint16 for"):
        _core.drop(values.astype(float), values, **options)
    with pytest.raises(TypeError, match=r"out is uint16 \(5,\)"):
        _core.drop(values, values.astype(np.uint16), **options)
    with pytest.raises(ValueError, match=r"out has the shape \(4,\); it needs \(5,\), as values"):
        _core.drop(values, np.ones(4, np.float32), **options)
    values.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        _core.drop(values, values, **options)
    for rate in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"rate is .*; it must be from 0 to 1"):
            _core.drop(values, np.ones(5, np.float32), **options | {"rate": rate})


BAD_ATTENTION = {
    "two types": ("keys", np.ones((2, 4, 2, 5), np.uint16), r"keys is uint16 .* float32, or"),
    "another width": ("keys", np.ones((2, 4, 2, 6), np.float32), r"it needs \(2, 4, 2, 5\), texts"),
    "other values": ("values", np.ones((2, 3, 2, 5), np.float32), r"values has .* as keys has"),
    "three axes": ("queries", np.ones((2, 4, 5), np.float32), "with 4 dimensions"),
    "a mask of numbers": ("seen", np.ones((1, 1, 1, 4), np.float32), "seen is float32 .* bool"),
    "a short mask": ("seen", np.ones((1, 1, 1, 3), bool), r"it needs \(1, 1, 1, 4\), or 1 for"),
    "a mask of 3 heads": ("seen", np.ones((2, 3, 1, 4), bool), r"it needs \(2, 4, 1, 4\)"),
    "a short output": ("out", np.ones((2, 2, 4, 5), np.float32), "out has .* as queries has"),
    "other sums": ("log_sums", np.ones((2, 3, 4), np.float32), r"it needs \(2, 4, 3\), texts,"),
    "no threads": ("num_threads", 0, "num_threads is 0"),
    "a window below 0": ("window", -1, "window is -1; it must be at least 0"),
    "texts of two rows": ("offsets", np.array([0, 3]), r"it needs \(1, 3, 2, 5\), one row"),
    "short offsets": ("offsets", np.array([0, 3], np.int32), "offsets is int32"),
    "three heads of keys": ("queries", np.ones((2, 3, 5, 5), np.float32), "have 5 heads, keys 2"),
}


@pytest.mark.parametrize("case", BAD_ATTENTION)
def test_bad_attention(case):
    name, value, message = BAD_ATTENTION[case]
    states = {"queries": np.ones((2, 3, 4, 5), np.float32)}
    states |= {key: np.ones((2, 4, 2, 5), np.float32) for key in ("keys", "values")}
    law = {"seen": None, "offsets": None, "scale": 1.0, "causal": False, "window": 0, "rate": 0.5,
           "seed": 1, "num_threads": 1}  # fmt: skip
    given = {**states, **law, "log_sums": np.ones((2, 4, 3), np.float32), name: value}
    out = np.ones_like(given["queries"])
    if "heads of keys" in case:
        given["log_sums"] = np.ones((2, 5, 3), np.float32)
    with pytest.raises((TypeError, ValueError), match=message):
        _core.attend(**{"out": out} | given)
    given["out_gradient"] = given.pop("out", out)
    kind = message.replace("out has", "out_gradient has")
    gradients = {
        "query_gradient": np.ones_like(given["queries"]),
        "key_gradient": np.ones((2, 4, 2, 5), np.float32),
        "value_gradient": np.ones((2, 4, 2, 5), np.float32),
    }
    with pytest.raises((TypeError, ValueError), match=kind):
        _core.attend_backward(**given, **gradients)


@pytest.mark.parametrize("name", COLUMNS)
def test_bad_columns_of_a_table(name):
    columns = COLUMNS | {name: COLUMNS[name].astype(np.float32)}
    with pytest.raises(TypeError, match=rf"{name} is float32 \(4,\); it must be"):
        _core.PlanIndex.build(**columns, num_languages=1, num_sources=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world_size": 0}, "world_size is 0; at least 1 is needed"),
        ({"kind": 7}, r"kind is 7; 0 \(mono\) to 3 \(hybrid\) are needed"),
        ({"batch_size": 2**40}, "no mono batch of 1099511627776 can be filled"),
    ],
)
def test_bad_options_of_a_plan(options, message):
    index = _core.PlanIndex.build(**COLUMNS, num_languages=1, num_sources=1)
    plain = {"batch_size": 2, "kind": 0, "alpha": 0.5, "exponent": 0.0, "seed": 0, "world_size": 1}
    weights = {"language_weights": [], "pair_weights": [], "source_weights": []}
    with pytest.raises(ValueError, match=message):
        _core.Planner(index, single_pair=False, **weights, **plain | options)
