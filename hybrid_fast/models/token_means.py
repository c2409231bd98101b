"""Means of token embeddings, and a gradient that costs what the tokens of the batch cost.

torch's dense gradient sorts all occurrences of tokens, and that of `EmbeddingBag(sparse=True)` has
a row for each of them, whose adding up takes longer still. Here C++ counts occurrences and adds up
the gradient of each token where it makes it, on all cores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hybrid_fast import _core


class _TokenMeans(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, ids: Tensor, begins: Tensor) -> Tensor:
        ctx.save_for_backward(ids, begins)
        ctx.table_shape = weights.shape
        return F.embedding_bag(ids, weights, begins, mode="mean")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        ids, begins = ctx.saved_tensors
        tokens, sums = map(
            torch.from_numpy,
            _core.sum_by_token(
                ids.numpy(),
                begins.numpy(),
                gradient.contiguous().numpy(),
                vocab_size=ctx.table_shape[0],
                num_threads=torch.get_num_threads(),
            ),
        )
        return sums.new_zeros(ctx.table_shape).index_copy_(0, tokens, sums), None, None


def token_means(weights: Tensor, ids: Tensor, begins: Tensor) -> Tensor:
    """Return the mean embedding of each text, (n, D).

    The gradient of the weights is the same bits whatever the number of threads.

    Args:
        weights: (V, D), float32 or float64, on the CPU.
        ids: int64, the tokens of the texts one after another.
        begins: int64 (n,), where each text begins.
    """
    means: Tensor = _TokenMeans.apply(weights, ids, begins)
    return means
