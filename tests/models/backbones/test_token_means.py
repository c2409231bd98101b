"""Means of token embeddings and their gradient against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hybrid_fast import _core
from hybrid_fast.models.backbones.token_means import TokenMeans

VOCABULARY = 40
TEXTS = {
    "one text": [[3]],
    "repeated tokens": [[1, 1, 1], [1, 2], [2, 2, 39, 1]],
    "empty texts": [[], [5, 0], [], [0], []],
    "nothing but empty texts": [[], []],
}


def flatten(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    begins = np.cumsum([0, *map(len, texts)])[:-1]
    ids = torch.tensor([token for text in texts for token in text], dtype=torch.int64)
    return ids, torch.from_numpy(begins)


def random_texts(num_texts: int, vocab_size: int) -> list[list[int]]:
    """Zipf-like: the first token has a tenth of all uses."""
    rng = np.random.default_rng(0)
    return [
        np.minimum(rng.zipf(1.3, rng.integers(0, 30)) - 1, vocab_size - 1).tolist()
        for _ in range(num_texts)
    ]


def dense_gradient(weights, ids, begins, upstream):
    weights = weights.detach().clone().requires_grad_()
    F.embedding_bag(ids, weights, begins, mode="mean").backward(upstream)
    return weights.grad


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dim", [1, 7, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*TEXTS, "random"])
def test_means_and_gradient_are_those_of_torch(name, dtype, dim, sparse):
    texts = TEXTS.get(name) or random_texts(301, VOCABULARY)
    ids, begins = flatten(texts)
    torch.manual_seed(0)
    table = TokenMeans(torch.randn(VOCABULARY, dim, dtype=dtype))
    table.sparse = sparse
    weights = table.weight
    upstream = torch.randn(len(texts), dim, dtype=dtype)
    means = table(ids, begins)
    means.backward(upstream)
    assert torch.equal(means, F.embedding_bag(ids, weights, begins, mode="mean"))
    assert weights.grad.is_sparse == sparse
    if sparse:
        assert weights.grad._indices()[0].tolist() == sorted({t for text in texts for t in text})
    truth = dense_gradient(weights.double(), ids, begins, upstream.double())
    # Rounding of a sum of n terms in order: about eps times the sum of their sizes.
    sizes = dense_gradient(weights.double(), ids, begins, upstream.double().abs())
    error = (weights.grad.to_dense().double() - truth).abs()
    assert (error <= 8 * torch.finfo(dtype).eps * sizes).all()


def test_an_upstream_gradient_need_not_be_contiguous():
    ids, begins = flatten(TEXTS["repeated tokens"])
    table = TokenMeans(torch.randn(VOCABULARY, 5))
    upstream = torch.randn(5, 3).T
    table(ids, begins).backward(upstream)
    expected = dense_gradient(table.weight, ids, begins, upstream)
    torch.testing.assert_close(table.weight.grad, expected)


def test_the_number_of_threads_changes_no_bit():
    texts = random_texts(3000, 5000)
    ids, begins = (tensor.numpy() for tensor in flatten(texts))
    gradient = np.random.default_rng(0).standard_normal((len(texts), 33)).astype(np.float32)
    tokens, sums = _core.sum_by_token(ids, begins, gradient, 5000, num_threads=1)
    for num_threads in (2, 5):
        others = _core.sum_by_token(ids, begins, gradient, 5000, num_threads=num_threads)
        assert np.array_equal(others[0], tokens)
        assert np.array_equal(others[1], sums)


@pytest.mark.parametrize(
    ("ids", "begins", "message"),
    [
        ([40], [0], "there is no token 40 among 40"),
        ([-1], [0], "there is no token -1 among 40"),
        ([1, 2], [1, 2], "must begin at 0"),
        ([1, 2], [0, 3], "within the 2 ids"),
        ([1, 2, 3], [0, 2, 1], "after one another"),
        ([1], [], "must begin at 0"),
    ],
)
def test_what_is_no_text_is_an_error(ids, begins, message):
    gradient = np.ones((len(begins), 2), np.float32)
    with pytest.raises(ValueError, match=message):
        _core.sum_by_token(
            np.array(ids, np.int64), np.array(begins, np.int64), gradient, 40, num_threads=1
        )
    with pytest.raises(
        ValueError,
        match=rf"gradient has the shape \(5, 2\); it needs \({len(begins)}, 2\), a row",
    ):
        _core.sum_by_token(
            np.array(ids, np.int64),
            np.array(begins, np.int64),
            np.ones((5, 2), np.float32),
            40,
            num_threads=1,
        )
