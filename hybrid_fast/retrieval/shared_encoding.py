"""Encoding of texts by all ranks of a process group.

Ranks take whole batches in turn, so a text is encoded in the same batch as by one process, and its
embedding is bitwise identical for an equal number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hybrid_fast.retrieval.embeddings import to_float32
from hybrid_fast.retrieval.encoders import Encoder
from hybrid_fast.retrieval.shared_work import SharedWork, own_parts


def share_encoder(encoder: Encoder, shared: SharedWork | None, share: int) -> Encoder:
    """Return an encoder that all ranks call with the same texts, and of which each encodes some.

    Args:
        encoder: encodes the texts of one side.
        shared: the ranks; None: the encoder is returned.
        share: texts that a rank takes at a time: as many as the encoder does, or a multiple.
    """
    if shared is None:
        return encoder

    def encode(texts: Sequence[str], batch_size: int | None = None) -> np.ndarray:
        rows = np.arange(len(texts))
        parts = [rows[start : start + share] for start in range(0, len(rows), share)]
        own = [texts[row] for part in own_parts(parts, shared) for row in part]
        local = np.empty((0, 0), np.float32)
        if own:
            local = to_float32(encoder(own, batch_size), "embeddings")
        if len(local) != len(own):
            raise ValueError(
                f"{encoder.name} returned {len(local)} embeddings for {len(own)} texts"
            )
        gathered = shared.gather(local)
        dim = max(each.shape[1] for each in gathered)
        embeddings = np.empty((len(texts), dim), np.float32)
        for rows_of_rank, each in zip(shared.rows_of_ranks(parts), gathered, strict=True):
            if len(each):  # a rank without texts does not know D
                embeddings[rows_of_rank] = each
        return embeddings

    return Encoder(encode, encoder.name, "texts")
