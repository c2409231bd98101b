"""One step of training: from a local batch of texts to the gradient of the weights.

Memory may run out at any micro-batch. Then all ranks discard their part of the step, halve their
budget and repeat it, so they agree before every exchange. The gradient of earlier batches of the
same update is set aside meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hybrid_fast.models.kernels import flash
from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.models.transfer import to_device
from hybrid_fast.ops.agreement import OtherRankError
from hybrid_fast.training.collectives import any_rank, num_ranks, smallest_of_ranks
from hybrid_fast.training.compat import is_out_of_memory
from hybrid_fast.training.compiled_layers import CompiledLayers
from hybrid_fast.training.gradient_cache import GradientCache, MicroBatch
from hybrid_fast.training.learning import spread
from hybrid_fast.training.memory import GraphSize, TokenBudget, find_budget, measure_graphs
from hybrid_fast.training.micro_batcher import MicroBatcher
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.steps import Batch
from hybrid_fast.training.timing import COMPILATION, StepTimer
from hybrid_fast.training.token_tables import sparse_gradients

logger = logging.getLogger(__name__)
# Working memory of the loss beside embeddings and their gradients; see `info_nce`.
_LOSS_BYTES_ON_CPU, _LOSS_BYTES = 2**26, 2**32
_EMBEDDING_COPIES = 4  # gradients, and what the loss saves for its backward pass


class _OutOfMemoryError(Exception):
    """Memory ran out on this or another rank."""


class CachedStep:
    """Adds the gradient of the loss of a local batch to the gradients of the weights.

    Args:
        model: encoder and loss.
        device: where they are.
        timer: of the parts of a step.
        autocast: see `GradientCache`.
        backward: runs the backward pass of the loss; accelerate's, which scales it for fp16.
        length_multiple: texts are padded to a multiple of it.
        compiled: the layers of the encoder, if they run compiled.
        micro_batch_tokens: tokens embedded at a time, padding included; None: as memory allows.
        cached_activation_tokens: tokens whose activations are cached, padding included; None: as
            memory allows.

    Attributes:
        stay_sparse: see `sparse_gradients`; False unless set.
        budget: the token limits in use; None before the first batch.
        num_padded: tokens of the last batch, padding included.
        spread: of the passages of the last batch, see `spread`; None before the first.
        stop_requested: set it on any rank to have `stop` set on all after the next step.
        stop: whether any rank has requested it.
    """

    def __init__(
        self,
        model: ContrastiveModel,
        device: torch.device,
        timer: StepTimer,
        autocast: Callable[[], AbstractContextManager[Any]],
        backward: Callable[[Tensor], None],
        *,
        length_multiple: int = 1,
        compiled: CompiledLayers | None = None,
        micro_batch_tokens: int | None = None,
        cached_activation_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self.timer = timer
        self.backward = backward
        self.compiled = compiled
        self.stay_sparse = False
        self.micro_batch_tokens = micro_batch_tokens
        self.cached_activation_tokens = cached_activation_tokens
        self.budget: TokenBudget | None = None
        self.num_padded = 0
        self.spread: Tensor | None = None
        self.stop_requested = self.stop = False
        self.micro_batcher = MicroBatcher(model.encoder, device, length_multiple)
        self._autocast = autocast
        self._cache = GradientCache(
            model.encoder, autocast, timer.part, always_with_graph=compiled is not None
        )

    def __call__(self, batch: Batch, divisor: int = 1) -> Tensor:
        """Add the gradient of a batch and return its loss, 0-dim, without gradient.

        Args:
            batch: of this rank.
            divisor: of the loss and its gradient.

        Raises:
            torch.OutOfMemoryError: memory does not suffice for the smallest micro-batches.
            FloatingPointError: an embedding or the loss is not finite, here or on another rank.
        """
        is_first = self.num_padded == 0
        with _set_aside_gradients(self.model), self._fast_encoder():
            if self.budget is None:
                self.budget = self._find_budget(batch)
            seed = int(torch.randint(2**62, ()))
            while True:
                try:
                    loss = self._try(batch, self.budget, divisor, seed)
                    break
                except _OutOfMemoryError:
                    self.model.zero_grad()
                self.budget.halve()
                if self.device.type != "cpu":
                    torch.get_device_module(self.device).empty_cache()
        if is_first:
            self._log_budget(self.budget)
        return loss

    @contextmanager
    def _fast_encoder(self) -> Iterator[None]:
        """Let the encoder compute as fast as it can for the duration of a step."""
        encoder, compiled = self.model.encoder, self.compiled
        whole = compiled is not None and compiled.is_whole
        with ExitStack() as ways:
            if not whole:
                ways.enter_context(sparse_gradients(encoder, stay_sparse=self.stay_sparse))
            # The kernels of the CPU are none that a compiler takes.
            if compiled is None or flash.serves(self.device):
                with self._autocast():  # what it computes in decides
                    unpadded = not whole and encoder.can_unpad()
                ways.enter_context(fast_encoder(encoder, unpadded=unpadded))
            if compiled is not None:
                ways.enter_context(self._said_compilation(compiled))
            yield

    @contextmanager
    def _said_compilation(self, compiled: CompiledLayers) -> Iterator[None]:
        """Let layers run compiled within, and say how long it took to compile them."""
        before = self.timer.seconds.get(COMPILATION, 0.0)
        with compiled.running(self.timer):
            yield
        total = self.timer.seconds.get(COMPILATION, 0.0)
        if total > before:
            logger.info(
                "%.1f s of this step were spent compiling, %.1f s since training began.",
                total - before,
                total,
            )

    def _try(self, batch: Batch, budget: TokenBudget, divisor: int, seed: int) -> Tensor:
        with self._on_all_ranks():
            micro_batches = self.micro_batcher.cut(batch, budget.micro_batch)
            embedded = self._cache.embed(micro_batches, budget.cached, seed)
        with self.timer.part("loss"):
            loss = self._loss_of_finite(batch, embedded.embeddings) / divisor
            self.backward(loss)
        with self._on_all_ranks(loss):
            self._cache.back_propagate(embedded)
        self.num_padded = sum(each.num_tokens for each in embedded.micro_batches)
        return loss.detach()

    def _loss_of_finite(self, batch: Batch, embeddings: Tensor) -> Tensor:
        try:
            return self._loss(batch, embeddings)
        except OtherRankError as error:  # all ranks have made the same call, but for its values
            raise FloatingPointError(str(error)) from error
        except ValueError as error:  # the loss names what is not finite, among other things
            if embeddings.isfinite().all():
                raise
            raise FloatingPointError(str(error)) from error

    def _loss(self, batch: Batch, embeddings: Tensor) -> Tensor:
        options = {
            "queries": batch.queries,
            "passages": batch.passages,
            "passage_ids": batch.passage_ids,
            "mask": batch.answers,
            "owners": batch.owners,
            "in_batch": batch.in_batch,
        }
        given = {name: each for name, each in options.items() if each is not None}
        given = to_device(given, self.device)
        queries, passages = (embeddings[given.pop(side)] for side in ("queries", "passages"))
        self.spread = spread(passages)
        return self.model.compare(queries, passages, **given)

    @contextmanager
    def _on_all_ranks(self, loss: Tensor | None = None) -> Iterator[None]:
        """Raise on all ranks if memory runs out within on any, or if any has a loss that is NaN."""
        failed = False
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        with self.timer.part("waiting"):
            # Not before: a GPU is waited for here, which has got all its work by now.
            diverged = loss is not None and not loss.isfinite()
            flags = [failed, self.stop_requested, diverged]
            failed, self.stop, any_diverged = any_rank(flags, self.device)
        if any_diverged:
            found = loss.item() if loss is not None and diverged else "not finite on another rank"
            raise FloatingPointError(f"the loss is {found}")
        if failed:
            raise _OutOfMemoryError

    def _find_budget(self, batch: Batch) -> TokenBudget:
        """Return the limits that were set and, for the others, what all ranks have memory for."""
        if self.micro_batch_tokens is not None and self.cached_activation_tokens is not None:
            return TokenBudget(self.micro_batch_tokens, self.cached_activation_tokens)
        num_embeddings = len(batch.passages) * num_ranks() + len(batch.lengths)
        budget = find_budget(
            self.model,
            lambda: self._measure(self.micro_batcher.samples(batch)),
            self.device,
            reserved_bytes=(_LOSS_BYTES_ON_CPU if self.device.type == "cpu" else _LOSS_BYTES)
            + _EMBEDDING_COPIES * num_embeddings * self.model.encoder.embedding_dim * 4,
            micro_batch=self.micro_batch_tokens,
        )
        sizes = [budget.micro_batch, budget.cached]
        budget = TokenBudget(*smallest_of_ranks(sizes, self.device))
        if self.cached_activation_tokens is not None:
            budget.cached = self.cached_activation_tokens
        return budget

    def _measure(self, samples: list[MicroBatch]) -> GraphSize:
        num_tokens = samples[0].num_tokens, samples[1].num_tokens
        with self._cache.passing():
            return measure_graphs(
                self.model, lambda index: self._cache.embed_one(samples[index], seed=0), num_tokens
            )

    def _log_budget(self, budget: TokenBudget) -> None:
        if not self.model.encoder.backbone.pads:
            return  # all texts are embedded at once
        logger.info(
            "Texts are embedded %d tokens at a time, padding included; activations are cached for "
            "%d of the %d tokens of the first batch, the others are embedded twice.",
            budget.micro_batch,
            min(budget.cached, self.num_padded),
            self.num_padded,
        )


@contextmanager
def _set_aside_gradients(model: nn.Module) -> Iterator[None]:
    """Remove existing gradients, and add them to the new ones at the end."""
    before = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    for parameter, _ in before:
        parameter.grad = None
    yield
    for parameter, gradient in before:
        parameter.grad = gradient if parameter.grad is None else gradient + parameter.grad
