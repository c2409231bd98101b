"""The gradient of a loss over more texts than one graph would fit in memory.

A contrastive loss needs the embeddings of the whole batch, but its gradient reaches the weights
text by text. So texts are embedded in micro-batches without autograd graphs, the loss yields the
gradient of the embeddings, and each micro-batch is embedded again, with a graph, to propagate its
part to the weights (GradCache, arXiv 2101.06983). The result is exactly the gradient of the whole
batch: dropout draws the same masks both times.

The second forward pass is not needed where the graph and its activations were cached: the first
micro-batches cache theirs as far as memory goes. Backward passes run in the order of the
micro-batches, so the gradient is bitwise identical however many are cached.

Compiled, a forward pass without a graph is other code than one with a graph, which rounds otherwise
and drops other values. So the first pass then makes the graph of each micro-batch and drops it,
also where a user has compiled modules of the encoder.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hybrid_fast.models.compat import is_compiled

Features = dict[str, Tensor]


@dataclass(frozen=True)
class MicroBatch:
    """Texts that are embedded together."""

    rows: Tensor  # int64 (n,), their positions in the batch
    features: Features  # inputs of the encoder
    num_tokens: int  # padding included


@dataclass
class Embedded:
    """All texts of a batch after the first forward pass."""

    micro_batches: Sequence[MicroBatch]
    embeddings: Tensor  # (M, D), a leaf whose gradient comes from the loss
    graphs: list[Tensor]  # embeddings of the first micro-batches, with their cached graphs
    seed: int  # of dropout


@contextmanager
def _no_false_alarm() -> Iterator[None]:
    """Keep torch from warning that a reentrant checkpoint without gradients has no gradients."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad", UserWarning)
        yield


@dataclass(frozen=True)
class GradientCache:
    """The passes over micro-batches before and after the loss.

    Args:
        encoder: turns features into embeddings (n, D).
        autocast: returns the context in which it runs; a pass casts each weight once.
        part: returns a context around a named part of the work.
        always_with_graph: whether each forward pass makes a graph, as a compiled encoder needs it;
            it does anyway if a module was compiled in place.
    """

    encoder: nn.Module
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    part: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext()
    always_with_graph: bool = False

    def embed(
        self, micro_batches: Iterable[MicroBatch], max_cached_tokens: int, seed: int
    ) -> Embedded:
        """Embed all texts.

        Args:
            micro_batches: at least one; each row of the batch is in one of them. They may be made
                one by one, while a GPU embeds those before.
            max_cached_tokens: activations are cached for the first micro-batches, of at most so
                many tokens together.
            seed: of dropout.
        """
        embedded: list[MicroBatch] = []
        outputs: list[Tensor] = []
        graphs: list[Tensor] = []
        num_tokens = 0
        with_graph = self.always_with_graph or any(map(is_compiled, self.encoder.modules()))
        # Cached graphs come first: a weight that autocast has cast without a graph would be reused
        # by a forward pass that needs one.
        with self.part("encoder forward"), self.passing(), _no_false_alarm():
            for index, micro_batch in enumerate(micro_batches):
                embedded.append(micro_batch)
                num_tokens += micro_batch.num_tokens
                cached = num_tokens <= max_cached_tokens
                with torch.set_grad_enabled(cached or with_graph):
                    output = self.embed_one(micro_batch, seed + index)
                if cached:
                    graphs.append(output)
                outputs.append(output.detach())
                del output  # and its graph, before the next one is made
            rows = torch.cat([micro_batch.rows for micro_batch in embedded])
            found = torch.cat(outputs)
            embeddings = torch.empty_like(found).index_copy_(0, rows, found)
        return Embedded(embedded, embeddings.requires_grad_(), graphs, seed)

    def back_propagate(self, embedded: Embedded) -> None:
        """Propagate the gradient of the embeddings to the weights; uses up cached graphs.

        Raises:
            ValueError: `embedded.embeddings` has no gradient of the loss yet.
        """
        gradient = embedded.embeddings.grad
        if gradient is None:
            raise ValueError("the embeddings have no gradient; call backward on the loss first")
        with self.passing():
            for index, micro_batch in enumerate(embedded.micro_batches):
                if embedded.graphs:
                    output = embedded.graphs.pop(0)
                else:
                    with self.part("encoder forward"):
                        output = self.embed_one(micro_batch, embedded.seed + index)
                # A backward pass runs in the dtypes of its forward pass already.
                with (
                    self.part("encoder backward"),
                    torch.autocast(output.device.type, enabled=False),
                ):
                    output.backward(gradient[micro_batch.rows])

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Let micro-batches be embedded within; the random state is put back afterwards."""
        device = next(self.encoder.parameters()).device
        # The generator of MPS cannot be forked; its state is only read after a seed is set.
        devices = [] if device.type in ("cpu", "mps") else [device]
        with torch.random.fork_rng(devices), self.autocast():
            yield

    def embed_one(self, micro_batch: MicroBatch, seed: int) -> Tensor:
        """Return the embeddings of a micro-batch (n, D), within `passing`."""
        torch.manual_seed(seed)
        embeddings: Tensor = self.encoder(micro_batch.features)
        return embeddings
