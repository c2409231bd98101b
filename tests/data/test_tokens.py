"""Taking and padding tokenised texts in C++ against their plain definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_fast import _core
from hybrid_fast.data import Tokens

TEXTS = st.lists(st.lists(st.integers(0, 40_000), max_size=9), max_size=12)


def make(texts: list[list[int]], dtype: type = np.int32) -> Tokens:
    offsets = np.cumsum([0, *map(len, texts)])
    return Tokens(np.array([token for text in texts for token in text], dtype), offsets)


def texts_of(tokens: Tokens) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])][: len(tokens)]


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
@given(texts=TEXTS, data=st.data())
def test_taking_and_padding_are_what_python_would_do(dtype, texts, data):
    rows = data.draw(
        st.lists(st.integers(0, len(texts) - 1), max_size=20) if texts else st.just([])
    )
    tokens = make(texts, dtype)
    taken = tokens.take(np.array(rows, np.int64))
    chosen = [texts[row] for row in rows]
    assert taken.ids.dtype == dtype
    assert texts_of(taken) == chosen
    assert taken.lengths.tolist() == [len(text) for text in chosen]
    length = max(map(len, chosen), default=0) + data.draw(st.integers(0, 3))
    padded = _core.pad_tokens(tokens.ids, tokens.offsets, np.array(rows, np.int64), length, 7)
    assert padded.shape == (len(rows), length)
    assert padded.tolist() == [text + [7] * (length - len(text)) for text in chosen]


def test_many_rows_are_shared_out_to_threads_and_come_back_in_order():
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, 9, generator.integers(0, 6)).tolist() for _ in range(5000)]
    rows = generator.integers(0, 5000, 20_000)
    tokens = make(texts)
    assert texts_of(tokens.take(rows)) == [texts[row] for row in rows]
    padded = _core.pad_tokens(tokens.ids, tokens.offsets, rows, 5, -1)
    assert padded.tolist() == [texts[row] + [-1] * (5 - len(texts[row])) for row in rows]


@given(TEXTS, TEXTS)
def test_concatenation_puts_texts_behind_one_another(first, second):
    assert texts_of(Tokens.concatenate([make(first), make(second)])) == first + second


def test_concatenation_of_narrow_and_wide_ids_keeps_all():
    both = Tokens.concatenate([make([[1, 65535]], np.uint16), make([[65536], [2**31 - 1]])])
    assert both.ids.dtype == np.int32
    assert texts_of(both) == [[1, 65535], [65536], [2**31 - 1]]


@pytest.mark.parametrize("row", [-1, 2, 2**40])
def test_a_row_that_is_no_text_is_an_error(row):
    tokens = make([[1], [2, 3]])
    rows = np.array([0, row])
    with pytest.raises(IndexError, match=f"no text {row} among 2"):
        tokens.take(rows)
    with pytest.raises(IndexError, match=f"no text {row} among 2"):
        _core.pad_tokens(tokens.ids, tokens.offsets, rows, 5, 0)


def test_a_text_longer_than_the_matrix_is_an_error():
    tokens = make([[1], [2, 3, 4]])
    with pytest.raises(ValueError, match="text 1 has 3 tokens; it cannot be padded to 2"):
        _core.pad_tokens(tokens.ids, tokens.offsets, np.array([0, 1]), 2, 0)


@pytest.mark.parametrize("offsets", [[0, 9], [3, 1], [-1, 1]])
def test_offsets_outside_the_ids_are_an_error(offsets):
    tokens = Tokens(np.arange(3, dtype=np.int32), np.array(offsets))
    with pytest.raises(ValueError, match=r"text 0 lies at .* of 3 ids"):
        tokens.take(np.array([0]))
