"""Encoding many texts, some at a time, for inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.models.micro_batches import cut_by_length, cut_by_tokens
from hybrid_fast.models.texts import Integers, Side

# On a CPU so many tokens are embedded at a time, padding included: what one layer leaves to the
# next stays in its caches. With 64 passages at a time it takes twice as long.
CPU_TOKENS = 768


@dataclass(frozen=True)
class EncodeOptions:
    """How texts are encoded.

    Attributes:
        side: whose maximum length holds.
        prompt: put before each text.
        dim: entries that are kept of each embedding, the first ones.
        batch_size: texts at a time.
        normalize: whether what is kept is scaled to norm 1.
        on_cpu: see `encode_in_batches`.
        must_have_tokens: whether a static encoder refuses a text without tokens, which otherwise
            is embedded as zeros; a transformer always does.
    """

    side: Side
    prompt: str
    dim: int
    batch_size: int
    normalize: bool = False
    on_cpu: bool = True
    must_have_tokens: bool = True


def check_truncate_dim(dim: int, embedding_dim: int) -> int:
    """Return a number of entries of embeddings to keep.

    Raises:
        ValueError: they have fewer, or it is no number from 1.
    """
    is_number = isinstance(dim, int | np.integer) and not isinstance(dim, bool)
    if not is_number or not 1 <= dim <= embedding_dim:
        raise ValueError(
            f"truncate_dim is {dim!r}; embeddings of this model have {embedding_dim} "
            f"dimensions, so it must be a whole number from 1 to {embedding_dim}"
        )
    return int(dim)


def encode_in_batches(
    encode: Callable[[list[str]], Tensor],
    texts: Sequence[str],
    dim: int,
    batch_size: int,
    *,
    on_cpu: bool = True,
    progress: str | None = None,
) -> Tensor:
    """Encode texts without gradients, the longest first: the texts of a batch are of like length.

    Args:
        encode: returns the embeddings of a batch, (b, dim), on any device.
        texts: any number of them.
        dim: dimension of the embeddings.
        batch_size: texts at a time.
        on_cpu: whether embeddings are collected on the CPU in float32, or where and as they are.
        progress: label of a progress bar, shown on a terminal after two seconds; None: no bar.

    Returns:
        (n, dim), in the order of the texts.

    Raises:
        ValueError: a batch size below 1.
    """
    embeddings = torch.empty((len(texts), dim))
    is_first = True
    for rows in longest_first(texts, batch_size, progress):
        with torch.no_grad():
            batch = encode([texts[row] for row in rows])
        if is_first and not on_cpu:
            embeddings = torch.empty_like(embeddings, device=batch.device, dtype=batch.dtype)
        embeddings[rows] = batch.to(embeddings)
        is_first = False
    return embeddings


def embed_in_parts(
    embed: Callable[[Integers], Tensor],
    lengths: Integers,
    max_tokens: int | None,
    *,
    unpadded: bool = False,
) -> Tensor:
    """Embed the texts of a batch some at a time, those of like length together.

    Args:
        embed: returns the embeddings of texts by their positions in the batch, (m, D).
        lengths: int64 (n,), tokens of each text.
        max_tokens: at a time, padding included, or a longer text alone; None: all at once.
        unpadded: whether there is no padding.

    Returns:
        (n, D), in the order of the batch.
    """
    if max_tokens is None:
        return embed(np.arange(len(lengths)))
    if unpadded:
        parts = cut_by_tokens(lengths, max_tokens)
    else:
        parts = [rows for rows, _ in cut_by_length(lengths, max_tokens)]
    return torch.cat([embed(rows) for rows in parts])[np.concatenate(parts).argsort()]


def longest_first(
    texts: Sequence[str], batch_size: int, progress: str | None = None
) -> Iterator[list[int]]:
    """Yield the rows of each batch of texts; see `encode_in_batches`.

    Raises:
        ValueError: a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    rows = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
    starts = tqdm(
        range(0, len(texts), batch_size),
        desc=progress,
        delay=2,
        disable=None if progress else True,
        leave=False,
    )
    for start in starts:
        yield rows[start : start + batch_size]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into its own mode."""
    # Module by module: a user may have put some part of a model in training into evaluation mode.
    in_training = [module for module in model.modules() if module.training]
    for module in in_training:
        module.training = False
    try:
        yield
    finally:
        for module in in_training:
            module.training = True
