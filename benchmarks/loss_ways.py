"""The loss, forward and backward, ours and as others compute it: what is timed and compared.

sentence-transformers is imported only where its loss is asked for, since the check on a GPU has to
do without.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid_fast.cpu.compat import has_onednn_product, onednn_product
from hybrid_fast.ops import info_nce

TEMPERATURE = 0.05
SQUARE = 2048
NO_ENCODER = nn.Sequential(nn.Identity())  # embeddings come ready

Loss = Callable[[Tensor, Tensor], Tensor]


def embeddings(size: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return unit vectors of a loss as in the middle of a training, which need gradients."""
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(size, dim, generator=generator), dim=1)
    noise = torch.randn(size, dim, generator=generator)
    passages = F.normalize(noise / dim**0.5 + 0.5 * queries, dim=1)
    return queries.to(dtype).requires_grad_(), passages.to(dtype).requires_grad_()


def ours(queries: Tensor, passages: Tensor, **options: object) -> Tensor:
    return info_nce(queries, passages, temperature=TEMPERATURE, **options)


def cross_entropy(kind: str, temperature: float = TEMPERATURE) -> Loss:
    """Return the loss as a user writes it: a "mean", "symmetric", or one a row ("none")."""

    def loss(queries: Tensor, passages: Tensor) -> Tensor:
        scores = queries @ passages.T / temperature
        labels = torch.arange(len(queries), device=queries.device)
        if kind == "symmetric":
            return (F.cross_entropy(scores, labels) + F.cross_entropy(scores.T, labels)) / 2
        return F.cross_entropy(scores, labels, reduction=kind)

    return loss


def naive_of_half(queries: Tensor, passages: Tensor) -> Tensor:
    """Cross-entropy whose logits are float32 after a product in half precision."""
    scores = (queries @ passages.T).float()
    return F.cross_entropy(scores / TEMPERATURE, torch.arange(len(queries)))


def cached_loss(queries: Tensor, passages: Tensor, rows: int) -> Tensor:
    """The loss stage of CachedMultipleNegativesRankingLoss, with the backward pass of each step.

    By `dot_score`, as the embeddings are unit vectors: the default, `cos_sim`, would normalize all
    passages once more in each step.
    """
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
    )
    from sentence_transformers.util import dot_score

    loss = CachedMultipleNegativesRankingLoss(
        NO_ENCODER, scale=1 / TEMPERATURE, similarity_fct=dot_score, mini_batch_size=rows
    )
    return loss.calculate_loss([[queries], [passages]], with_backward=True)


def step(loss: Loss, queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss and both gradients."""
    queries.grad = passages.grad = None
    value = loss(queries, passages)
    if value.requires_grad:
        value.backward()
    return value.detach(), queries.grad, passages.grad


def limit(size: int, dim: int, seconds_of_square: float) -> float:
    """Return the seconds of the loss's three products at the rate of a square one of `SQUARE`."""
    return seconds_of_square * 3 * size**2 * dim / SQUARE**3


def square_products(dtype: torch.dtype = torch.float32) -> dict[str, Callable[[], Tensor]]:
    """Return, by library of torch, a product of two matrices of `SQUARE`: its best rate."""
    a, b = (torch.rand(SQUARE, SQUARE).to(dtype) for _ in range(2))
    products = {"torch.mm": lambda: a @ b}
    if has_onednn_product():
        products["oneDNN"] = lambda: onednn_product(a, b)
    return products
