"""Means of token embeddings, whose gradient has a row for each token of the batch only.

torch's own `EmbeddingBag(sparse=True)` has one for each occurrence of a token; adding those up
takes longer than a dense gradient. Here C++ adds them up while it makes them.
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
        tokens, sums = _core.sum_by_token(
            ids.numpy(),
            begins.numpy(),
            gradient.contiguous().numpy(),
            vocab_size=ctx.table_shape[0],
            num_threads=torch.get_num_threads(),
        )
        sparse = torch.sparse_coo_tensor(
            torch.from_numpy(tokens)[None],
            torch.from_numpy(sums),
            ctx.table_shape,
            is_coalesced=True,
            check_invariants=False,
        )
        return sparse, None, None


def token_means(weights: Tensor, ids: Tensor, begins: Tensor) -> Tensor:
    """Return the mean embedding of each text, (n, D).

    The gradient of the weights is sparse, and the same bits whatever the number of threads.

    Args:
        weights: (V, D), float32 or float64, on the CPU.
        ids: int64, the tokens of the texts one after another.
        begins: int64 (n,), where each text begins.
    """
    means: Tensor = _TokenMeans.apply(weights, ids, begins)
    return means
