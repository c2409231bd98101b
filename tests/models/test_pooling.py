"""Poolings against a loop over real tokens, for padding on either side and NaN in it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_fast.models.pooling import POOLINGS


def slow_pooling(name, tokens):
    if name == "mean":
        return torch.stack(list(tokens)).double().mean(0).to(tokens.dtype)
    return tokens[0] if name == "cls" else tokens[-1]


@pytest.mark.parametrize("name", ["mean", "cls", "last"])
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    padding=st.integers(0, 3),
    left=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_pooling_is_that_of_the_real_tokens(name, lengths, padding, left):
    width = max(lengths) + padding
    rows = [torch.randn(length, 6) for length in lengths]
    states = torch.full((len(rows), width, 6), float("nan"))
    mask = torch.zeros(len(rows), width, dtype=torch.int64)
    for row, tokens in enumerate(rows):
        real = slice(width - len(tokens), None) if left else slice(0, len(tokens))
        states[row, real] = tokens
        mask[row, real] = 1
    expected = torch.stack([slow_pooling(name, tokens) for tokens in rows])
    torch.testing.assert_close(POOLINGS[name](states, mask), expected)


def test_mean_of_half_precision_is_summed_in_float32():
    states = torch.full((1, 4096, 2), 1.0, dtype=torch.bfloat16)
    states[:, ::2] = 1.0078125  # the next bfloat16; a bfloat16 sum of 4096 ones would stop at 256
    pooled = POOLINGS["mean"](states, torch.ones(1, 4096, dtype=torch.int64))
    assert pooled.dtype == torch.bfloat16
    assert abs(pooled.float().mean().item() - 1.00390625) <= 2**-8


@pytest.mark.parametrize("name", ["mean", "cls", "last"])
def test_gradient_reaches_real_tokens_only(name):
    states = torch.randn(2, 4, 3, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    POOLINGS[name](states, mask).square().sum().backward()
    assert states.grad.abs().sum(-1)[mask == 0].eq(0).all()
    assert states.grad.abs().sum((1, 2)).gt(0).all()
