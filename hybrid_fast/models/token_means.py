"""Means of token embeddings, and a gradient that costs what the tokens of the batch cost.

torch's dense gradient sorts all occurrences of tokens, and that of `EmbeddingBag(sparse=True)` has
a row for each of them, whose adding up takes longer still. Here C++ counts occurrences and adds up
the gradient of each token where it makes it, on all cores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_fast import _core


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, ids: Tensor, begins: Tensor, sparse: bool) -> Tensor:
        ctx.save_for_backward(ids, begins)
        ctx.sparse = sparse
        ctx.table_shape = weights.shape
        return F.embedding_bag(ids, weights, begins, mode="mean")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
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
        if ctx.sparse:
            of_table = torch.sparse_coo_tensor(
                tokens[None], sums, ctx.table_shape, is_coalesced=True, check_invariants=False
            )
        else:
            of_table = sums.new_zeros(ctx.table_shape).index_copy_(0, tokens, sums)
        return of_table, None, None, None


class TokenMeans(nn.EmbeddingBag):
    """The mean embedding of each text, a matrix (n, D), from ids and where texts begin.

    On the CPU the gradient of the weights is the same bits whatever the number of threads; with
    `sparse` it has a row for each different token of the texts, ascending. Elsewhere it is dense.
    """

    def __init__(self, weights: Tensor) -> None:
        num_embeddings, embedding_dim = weights.shape
        super().__init__(num_embeddings, embedding_dim, mode="mean", _weight=weights)

    def forward(self, ids: Tensor, begins: Tensor) -> Tensor:  # type: ignore[override]
        """Return the means.

        Args:
            ids: int64, the tokens of the texts one after another.
            begins: int64 (n,), where each text begins.
        """
        weights = self.weight
        if weights.device.type == "cpu" and weights.dtype in (torch.float32, torch.float64):
            means: Tensor = _Means.apply(weights, ids, begins, self.sparse)
            return means
        return F.embedding_bag(ids, weights, begins, mode="mean")
