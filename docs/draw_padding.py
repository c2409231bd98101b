"""Draws docs/images/padding.png: `python docs/draw_padding.py`.

Lengths are log-normal, of 128 queries with a mean of 15 words and their passages with 60.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from hybrid_fast.models.micro_batches import cut_by_length

BATCH_SIZE, BUDGET, MINI_BATCH = 128, 2048, 32
SIGMA = 0.8
REAL, PADDING = "#1b6ca8", "#d5d5d5"


def main() -> None:
    """Draw both ways to cut one batch."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate(
        [
            rng.lognormal(np.log(mean) - SIGMA**2 / 2, SIGMA, BATCH_SIZE).round().clip(3, 250)
            for mean in (15, 60)
        ]
    ).astype(int)
    rows = np.arange(len(lengths))
    in_order = [
        (part, int(lengths[part].max())) for part in np.split(rows, len(rows) // MINI_BATCH)
    ]
    figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained", sharex=True)
    titles = (f"{MINI_BATCH} texts at a time", f"by length, at most {BUDGET:,} tokens")
    cuts = in_order, cut_by_length(lengths, BUDGET)
    for axis, title, micro_batches in zip(axes, titles, cuts, strict=True):
        draw(axis, title, micro_batches, lengths)
    figure.savefig(Path(__file__).parent / "images" / "padding.png", dpi=110)


def draw(
    axis: Axes, title: str, micro_batches: list[tuple[np.ndarray, int]], lengths: np.ndarray
) -> None:
    """Draw one bar a text, and a line between micro-batches."""
    rows = np.concatenate([part for part, _ in micro_batches])
    padded = np.concatenate([np.full(len(part), length) for part, length in micro_batches])
    places = np.arange(len(rows))
    axis.barh(places, padded, height=1, color=PADDING, label="padding")
    axis.barh(places, lengths[rows], height=1, color=REAL, label="tokens")
    for end in np.cumsum([len(part) for part, _ in micro_batches])[:-1]:
        axis.axhline(end - 0.5, color="white", linewidth=1.5)
    axis.invert_yaxis()
    share = 1 - lengths.sum() / padded.sum()
    axis.set(title=f"{title}: {share:.0%} padding", xlabel="tokens", ylabel="texts")
    axis.legend(loc="lower right")


if __name__ == "__main__":
    main()
