"""Cutting a local batch of texts into micro-batches, as the encoder takes them, on its device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.micro_batches import cut_by_length, cut_by_tokens
from hybrid_fast.models.texts import SIDES, Integers
from hybrid_fast.models.transfer import to_device
from hybrid_fast.training.gradient_cache import MicroBatch
from hybrid_fast.training.steps import Batch

# Two, since what is alone has shapes of its own: no padding, and a code of its own if compiled.
_SAMPLED_TEXTS = (2, 3)
_ANY_NUMBER = 2**62  # of tokens
_ROWS = "rows"  # beside the features of a micro-batch


class MicroBatcher:
    """Makes micro-batches of texts of like length.

    Args:
        encoder: that embeds them.
        device: where it is.
        length_multiple: texts are padded to a multiple of it.
    """

    def __init__(self, encoder: BiEncoder, device: torch.device, length_multiple: int = 1) -> None:
        self._encoder = encoder
        self._device = device
        self._length_multiple = length_multiple

    def cut(self, batch: Batch, max_tokens: int) -> Iterator[MicroBatch]:
        """Yield the micro-batches, each made when it is asked for."""
        prompt_lengths = self._prompt_lengths(batch)
        for rows, length in self._parts(batch.lengths, max_tokens):
            yield self._micro_batch(batch, rows, length, prompt_lengths)

    def samples(self, batch: Batch) -> list[MicroBatch]:
        """Return two micro-batches of some of the longest texts, or of half and all if none pad."""
        longest_first = np.argsort(-batch.lengths, kind="stable")
        half, whole = max(len(longest_first) // 2, 1), len(longest_first)
        sizes = _SAMPLED_TEXTS if self._encoder.backbone.pads else (half, whole)
        prompt_lengths = self._prompt_lengths(batch)
        samples = []
        for size in sizes:
            texts = np.resize(longest_first, size)  # some again, where the batch has too few
            ((rows, length),) = self._parts(batch.lengths[texts], max_tokens=_ANY_NUMBER)
            samples.append(self._micro_batch(batch, texts[rows], length, prompt_lengths))
        return samples

    def _parts(self, lengths: Integers, max_tokens: int) -> list[tuple[Integers, int]]:
        """Return which texts are embedded together, and the length to pad them to, if any."""
        encoder = self._encoder
        if not encoder.backbone.pads:
            return [(np.arange(len(lengths)), 0)]
        if encoder.backbone.is_unpadded:
            return [(rows, 0) for rows in cut_by_tokens(lengths, max_tokens)]
        # Longer than its longest text a batch may ask for positions that the model lacks.
        limit = max(encoder.max_length.values())
        return cut_by_length(lengths, max_tokens, self._length_multiple, limit)

    def _micro_batch(
        self, batch: Batch, rows: Integers, length: int, prompt_lengths: Integers | None
    ) -> MicroBatch:
        features = self._encoder.backbone.features(
            batch.ids, batch.offsets, rows, length, prompt_lengths
        )
        tensors = {**features, _ROWS: torch.from_numpy(rows)}
        on_device = to_device(tensors, self._device)
        return MicroBatch(on_device.pop(_ROWS), on_device, features["input_ids"].numel())

    def _prompt_lengths(self, batch: Batch) -> Integers | None:
        """Return how many tokens at the head of each text are not pooled; None if all are."""
        of_queries, of_passages = map(self._encoder.prompt_length, SIDES)
        if not of_queries and not of_passages:
            return None
        prompt_lengths = np.full(len(batch.lengths), of_passages)
        prompt_lengths[: batch.num_query_texts] = of_queries
        return prompt_lengths
