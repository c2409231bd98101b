"""Means of token embeddings, with a gradient whose cost follows the tokens of the batch.

torch's dense gradient sorts all occurrences of tokens. That of `EmbeddingBag(sparse=True)` has a
row for each occurrence, and adding those up takes longer still. Here C++ counts the occurrences and
sums the gradient of each token in place, on all cores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_fast import _core


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, ids: Tensor, offsets: Tensor, sparse: bool) -> Tensor:
        ctx.save_for_backward(ids, offsets)
        ctx.sparse = sparse
        ctx.table_shape = weights.shape
        return F.embedding_bag(ids, weights, offsets, mode="mean")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        ids, offsets = ctx.saved_tensors
        tokens, sums = map(
            torch.from_numpy,
            _core.sum_by_token(
                ids.numpy(),
                offsets.numpy(),
                gradient.contiguous().numpy(),
                vocab_size=ctx.table_shape[0],
                num_threads=torch.get_num_threads(),
            ),
        )
        if ctx.sparse:
            gradient_of_table = torch.sparse_coo_tensor(
                tokens[None], sums, ctx.table_shape, is_coalesced=True, check_invariants=False
            )
        else:
            gradient_of_table = sums.new_zeros(ctx.table_shape).index_copy_(0, tokens, sums)
        return gradient_of_table, None, None, None


class TokenMeans(nn.EmbeddingBag):
    """The mean embedding of each text, (n, D), from concatenated token ids and offsets.

    On the CPU the gradient of the weights is bitwise identical for any number of threads; with
    `sparse` it has one row for each distinct token of the texts, ascending. On other devices it is
    dense.

    Args:
        weights: float (num_tokens, D), the embedding table; a parameter is shared.
    """

    def __init__(self, weights: Tensor) -> None:
        # On no device: no random entries are drawn that `weights` would replace.
        num_embeddings, embedding_dim = weights.shape
        super().__init__(num_embeddings, embedding_dim, mode="mean", device="meta")
        self.weight = weights if isinstance(weights, nn.Parameter) else nn.Parameter(weights)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:  # type: ignore[override]
        """Return the means, (n, D).

        Args:
            ids: int64, the tokens of all texts, concatenated.
            offsets: int64 (n,), where each text starts.
        """
        weights = self.weight
        if weights.device.type == "cpu" and weights.dtype in (torch.float32, torch.float64):
            means: Tensor = _Means.apply(weights, ids, offsets, self.sparse)
            return means
        return F.embedding_bag(ids, weights, offsets, mode="mean")
