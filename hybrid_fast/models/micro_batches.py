"""Splitting a batch into micro-batches of similar length.

A contrastive loss does not depend on the order in which texts are embedded, so they are sorted by
length: texts of equal length need no padding, and texts of similar length little. Where texts lie
one after another, without padding, memory that suffices for the longest suffices for the others.
"""

from __future__ import annotations

import numpy as np


def cut_by_length(
    lengths: np.ndarray, max_tokens: int, multiple: int = 1, limit: int | None = None
) -> list[tuple[np.ndarray, int]]:
    """Split texts into micro-batches of at most `max_tokens`, padding included, longest first.

    The longest come first because memory that suffices for them suffices for the others.

    Args:
        lengths: int (n,), tokens of each text, at least 1.
        max_tokens: size of a micro-batch; a longer text forms one by itself.
        multiple: texts are padded to a multiple of it.
        limit: but to no more than this many tokens, which is the most that the model takes.

    Returns:
        For each micro-batch the positions of its texts, int64 (m,), and their padded length.
    """
    longest_first = np.argsort(-lengths, kind="stable")
    micro_batches = []
    start = 0
    while start < len(lengths):
        longest = -(-int(lengths[longest_first[start]]) // multiple) * multiple
        longest = longest if limit is None else min(longest, limit)
        size = max(max_tokens // longest, 1)
        micro_batches.append((longest_first[start : start + size], longest))
        start += size
    return micro_batches


def cut_by_tokens(lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Split texts that need no padding into micro-batches of at most `max_tokens`, longest first.

    Args:
        lengths: int (n,), tokens of each text, at least 1.
        max_tokens: size of a micro-batch; a longer text forms one by itself.

    Returns:
        For each micro-batch the positions of its texts, int64 (m,).
    """
    longest_first = np.argsort(-lengths, kind="stable")
    ends = lengths[longest_first].cumsum()
    micro_batches = []
    start = 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        end = max(int(np.searchsorted(ends, before + max_tokens, side="right")), start + 1)
        micro_batches.append(longest_first[start:end])
        start = end
    return micro_batches
