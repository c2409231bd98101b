"""The gradient of a loss over more texts than one graph would fit in memory.

A contrastive loss needs the embeddings of the whole batch, but its gradient reaches the weights
text by text. So texts are embedded in micro-batches without graphs, the loss gives the gradient of
the embeddings, and each micro-batch is embedded again, with a graph, to take its part of it back to
the weights (GradCache, arXiv 2101.06983). It is the gradient of the whole batch, exactly: dropout
draws the same masks both times.

The second forward pass is not needed where a graph could be kept: the first micro-batches keep
theirs as far as memory goes. Micro-batches go backward in their order, so how many are kept changes
no bit of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Features = dict[str, Tensor]


@dataclass(frozen=True)
class MicroBatch:
    """Texts that are embedded together."""

    rows: Tensor  # int64 (n,), their places in the batch
    features: Features  # what the encoder takes
    num_tokens: int  # padding included


@dataclass
class Embedded:
    """All texts of a batch after the first forward pass."""

    micro_batches: Sequence[MicroBatch]
    embeddings: Tensor  # (M, D), a leaf whose gradient comes from the loss
    graphs: list[Tensor]  # embeddings of the first micro-batches, with their graphs
    seed: int


@dataclass(frozen=True)
class GradientCache:
    """The passes over micro-batches before and after the loss.

    Args:
        encoder: turns features into vectors (n, D).
        autocast: makes the context in which it runs; a pass casts each weight once.
        part: makes a context around a part of the work, of which it is told the name.
    """

    encoder: nn.Module
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    part: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext()

    def embed(
        self, micro_batches: Sequence[MicroBatch], num_kept_tokens: int, seed: int
    ) -> Embedded:
        """Embed all texts.

        Args:
            micro_batches: at least one; each row of the batch is in one of them.
            num_kept_tokens: graphs are kept for the first micro-batches of together at most so
                many tokens.
            seed: of dropout.
        """
        size = sum(len(micro_batch.rows) for micro_batch in micro_batches)
        embeddings: Tensor | None = None
        graphs: list[Tensor] = []
        num_tokens = 0
        # Kept graphs come first: a weight that autocast has cast without a graph would be reused
        # by a forward pass that needs one.
        with self.part("encoder forward"), self.autocast():
            for index, micro_batch in enumerate(micro_batches):
                num_tokens += micro_batch.num_tokens
                kept = num_tokens <= num_kept_tokens
                with torch.set_grad_enabled(kept):
                    output = self.embed_one(micro_batch, seed + index)
                if kept:
                    graphs.append(output)
                if embeddings is None:
                    embeddings = output.new_empty(size, output.shape[1])
                embeddings[micro_batch.rows] = output.detach()
        assert embeddings is not None
        return Embedded(micro_batches, embeddings.requires_grad_(), graphs, seed)

    def back_propagate(self, embedded: Embedded) -> None:
        """Add the gradient of the embeddings to that of the weights; uses up kept graphs.

        Raises:
            ValueError: the loss has not gone backward to `embedded.embeddings` yet.
        """
        gradient = embedded.embeddings.grad
        if gradient is None:
            raise ValueError("the embeddings have no gradient; go backward through the loss first")
        with self.autocast():
            for index, micro_batch in enumerate(embedded.micro_batches):
                if embedded.graphs:
                    output = embedded.graphs.pop(0)
                else:
                    with self.part("encoder forward"):
                        output = self.embed_one(micro_batch, embedded.seed + index)
                # Steps of a backward pass have the dtypes of their forward pass already.
                with (
                    self.part("encoder backward"),
                    torch.autocast(output.device.type, enabled=False),
                ):
                    output.backward(gradient[micro_batch.rows])

    def embed_one(self, micro_batch: MicroBatch, seed: int) -> Tensor:
        """Return the vectors of a micro-batch (n, D); the random state is left as it was."""
        device = micro_batch.rows.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), self.autocast():
            torch.manual_seed(seed)
            vectors: Tensor = self.encoder(micro_batch.features)
            return vectors
