"""Encoding of texts by all ranks of a process group.

Ranks take whole batches in turn, so a text is encoded in the same batch as by one process, and its
embedding is bitwise identical for an equal number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from hybrid_fast.retrieval.embeddings import to_float32
from hybrid_fast.retrieval.shared_work import SharedWork, own_parts


def share_encoder(
    encoder: Callable[..., Any], shared: SharedWork | None, batch_size: int
) -> Callable[..., Any]:
    """Return an encoder that all ranks call with the same texts, and of which each encodes some.

    Args:
        encoder: takes a list of texts, and options; returns an array or tensor (n, D).
        shared: the ranks; None: the encoder is returned.
        batch_size: texts that it encodes at a time, or a multiple.
    """
    if shared is None:
        return encoder

    @wraps(encoder)
    def encode(texts: list[Any], **options: Any) -> np.ndarray:
        rows = np.arange(len(texts))
        batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        own = [texts[row] for batch in own_parts(batches, shared) for row in batch]
        part = np.empty((0, 0), np.float32)
        if own:
            part = to_float32(encoder(own, **options), "embeddings")
        if len(part) != len(own):
            raise ValueError(f"the model returned {len(part)} embeddings for {len(own)} texts")
        parts = shared.gather(part)
        embeddings = np.empty((len(texts), max(each.shape[1] for each in parts)), np.float32)
        for rows_of_rank, each in zip(shared.rows_of_ranks(batches), parts, strict=True):
            if len(each):  # a rank without texts does not know D
                embeddings[rows_of_rank] = each
        return embeddings

    return encode
