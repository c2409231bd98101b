"""Encoding many texts, some at a time, for inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]

from hybrid_fast.models.held_changes import HeldChange
from hybrid_fast.models.micro_batches import cut_by_length, cut_by_tokens
from hybrid_fast.models.texts import Integers, Side

_Prepared = TypeVar("_Prepared")

# Tokens that a transformer embeds at a time, padding included. On a CPU what one layer leaves to
# the next stays in its caches; with 64 passages at a time it takes twice as long. An accelerator
# is busy with as many as 64 texts of 512 have, and has memory for them wherever it trains.
CPU_TOKENS, ACCELERATOR_TOKENS = 768, 32_768
# Texts that are tokenised together, and then cut by tokens: where short ones would leave an
# accelerator idle they are more.
CPU_TEXTS, ACCELERATOR_TEXTS = 64, 1024


@dataclass(frozen=True)
class EncodeOptions:
    """How texts are encoded.

    Attributes:
        side: whose maximum length holds.
        prompt: put before each text.
        dim: entries that are kept of each embedding, the first ones.
        batch_size: texts at a time, at most.
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


def most_tokens(device: torch.device) -> int:
    """Return how many tokens a transformer embeds at a time on a device, padding included."""
    return CPU_TOKENS if device.type == "cpu" else ACCELERATOR_TOKENS


def most_texts(device: torch.device) -> int:
    """Return how many texts a transformer takes at a time on a device, unless told otherwise."""
    return CPU_TEXTS if device.type == "cpu" else ACCELERATOR_TEXTS


def encode_in_batches(
    prepare: Callable[[list[str]], _Prepared],
    embed: Callable[[_Prepared], Iterable[tuple[Integers, Tensor]]],
    texts: Sequence[str],
    dim: int,
    batch_size: int,
    *,
    on_cpu: bool = True,
    progress: str | None = None,
) -> Tensor:
    """Encode texts without gradients, the longest first: the texts of a batch are of like length.

    Args:
        prepare: returns what `embed` takes of a batch, such as its tokens.
        embed: returns the positions of some texts in the batch, (m,), and their embeddings,
            (m, dim), on any device, until all have been embedded.
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
    waiting: list[tuple[Integers, Tensor]] = []
    is_first = True
    for rows in longest_first(texts, batch_size, progress):
        # A batch is prepared while a GPU is at the one before, for which nothing waits until then.
        prepared = prepare([texts[row] for row in rows])
        _put(waiting, embeddings)
        with torch.no_grad():
            waiting = [(rows[places], part) for places, part in embed(prepared)]
        if is_first and not on_cpu:
            embeddings = waiting[0][1].new_empty((len(texts), dim))
        is_first = False
    _put(waiting, embeddings)
    return embeddings


def _put(parts: list[tuple[Integers, Tensor]], embeddings: Tensor) -> None:
    for rows, part in parts:
        embeddings[torch.from_numpy(rows)] = part.to(embeddings)


def cut_batch(
    lengths: Integers, max_tokens: int | None, *, unpadded: bool = False
) -> list[Integers]:
    """Return the texts of a batch that are embedded at a time, those of like length together.

    Which they are decides on the last bits of embeddings, so that it depends on nothing else: not
    on what is measured, on other processes or on what came before.

    Args:
        lengths: int64 (n,), tokens of each text.
        max_tokens: at a time, padding included, or a longer text alone; None: all at once.
        unpadded: whether there is no padding.

    Returns:
        Positions in the batch, int64 (m,) each.
    """
    if max_tokens is None:
        return [np.arange(len(lengths))]
    if unpadded:
        return cut_by_tokens(lengths, max_tokens)
    return [rows for rows, _ in cut_by_length(lengths, max_tokens)]


def longest_first(
    texts: Sequence[str], batch_size: int, progress: str | None = None
) -> Iterator[Integers]:
    """Yield the rows of each batch of texts, int64; see `encode_in_batches`.

    Raises:
        ValueError: a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    rows = np.argsort(-sizes, kind="stable")
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
    with _EVALUATION.hold(model.modules(), lambda module: _set_training(module, False)):
        yield


def _set_training(module: nn.Module, training: bool) -> None:
    module.training = training


_EVALUATION = HeldChange[nn.Module](
    applies=lambda module: module.training, undo=lambda module: _set_training(module, True)
)
