"""Micro-batches: every text once, within the budget, the longest first, of like length."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hybrid_fast.models.micro_batches import cut_by_length, cut_by_tokens

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(np.array)


@given(LENGTHS, st.integers(1, 100), st.integers(1, 8))
def test_each_text_is_in_one_micro_batch_that_keeps_the_budget(lengths, max_tokens, multiple):
    micro_batches = cut_by_length(lengths, max_tokens, multiple)
    rows = np.concatenate([rows for rows, _ in micro_batches])
    assert sorted(rows) == list(range(len(lengths)))
    for rows, padded in micro_batches:
        assert lengths[rows].max() <= padded < lengths[rows].max() + multiple
        assert padded % multiple == 0
        assert len(rows) == 1 or len(rows) * padded <= max_tokens


@given(LENGTHS, st.integers(1, 100))
def test_no_text_is_longer_than_one_of_an_earlier_micro_batch(lengths, max_tokens):
    ordered = np.concatenate([lengths[rows] for rows, _ in cut_by_length(lengths, max_tokens)])
    assert (np.diff(ordered) <= 0).all()


@given(LENGTHS, st.integers(1, 100), st.integers(1, 16), st.integers(0, 20))
def test_no_text_is_padded_beyond_what_the_model_takes(lengths, max_tokens, multiple, more):
    limit = int(lengths.max()) + more
    for rows, padded in cut_by_length(lengths, max_tokens, multiple, limit):
        assert lengths[rows].max() <= padded <= limit
        assert padded == limit or padded % multiple == 0


def test_no_micro_batch_could_take_the_next_text_as_well():
    lengths = np.array([3, 9, 9, 2, 5, 5, 1])
    assert [(rows.tolist(), padded) for rows, padded in cut_by_length(lengths, 18)] == [
        ([1, 2], 9),
        ([4, 5, 0], 5),
        ([3, 6], 2),
    ]


@given(LENGTHS, st.integers(1, 100))
def test_without_padding_micro_batches_are_as_full_as_the_order_allows(lengths, max_tokens):
    micro_batches = cut_by_tokens(lengths, max_tokens)
    rows = np.concatenate(micro_batches)
    assert sorted(rows) == list(range(len(lengths)))
    assert (np.diff(lengths[rows]) <= 0).all()
    for each, following in zip(micro_batches, [*micro_batches[1:], []], strict=True):
        assert len(each) == 1 or lengths[each].sum() <= max_tokens
        if len(following):
            assert lengths[each].sum() + lengths[following[0]] > max_tokens


def test_no_texts():
    assert cut_by_tokens(np.array([], np.int64), 10) == []
