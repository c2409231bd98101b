"""Draws the plots of docs/sampling.md: `python docs/draw_batch_plan.py` (a few seconds).

Left: how far the number of examples of each language pair strays from its share, over the steps of
a cross plan, and of independent draws with the same weights. Right: the same for the number of mono
batches of a hybrid plan.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from hybrid_fast import HybridBatchSampler

NUM_GROUPS, NUM_LANGUAGES, DENSITY = 4000, 5, 0.7
BATCH_SIZE, STEPS, ALPHA = 64, 400, 0.5
PLAN, INDEPENDENT = "#1b6ca8", "#c9783c"


def main() -> None:
    """Draw both plots into one file."""
    rng = np.random.default_rng(0)
    groups, codes = np.nonzero(rng.random((NUM_GROUPS, NUM_LANGUAGES)) < DENSITY)
    languages = np.array(["ar", "de", "en", "hi", "th"])[codes]

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    cross = HybridBatchSampler.from_arrays(groups, languages, batch_size=BATCH_SIZE, kind="cross")
    num_pairs = NUM_LANGUAGES * (NUM_LANGUAGES - 1)
    planned = np.array(
        [
            np.bincount(codes[b.query_rows] * NUM_LANGUAGES + codes[b.passage_rows], minlength=25)
            for b in map(cross.batch, range(STEPS))
        ]
    )
    off_diagonal = [x * NUM_LANGUAGES + y for x in range(5) for y in range(5) if x != y]
    drawn = rng.multinomial(BATCH_SIZE, np.full(num_pairs, 1 / num_pairs), size=STEPS)
    draw(left, drawn, planned[:, off_diagonal], BATCH_SIZE / num_pairs)
    left.set(
        title="examples of each of 20 language pairs",
        xlabel="step",
        ylabel="counted - share x examples so far",
    )

    hybrid = HybridBatchSampler.from_arrays(
        groups, languages, batch_size=BATCH_SIZE, kind="hybrid", alpha=ALPHA
    )
    mono = np.array([[hybrid.batch(step).kind == "mono"] for step in range(STEPS)])
    draw(right, rng.random((STEPS, 8)) < ALPHA, mono, ALPHA)
    right.set(title="mono batches, alpha 0.5 (8 independent runs)", xlabel="step")
    figure.savefig(Path(__file__).parent / "images" / "batch_plan.png", dpi=110)


def draw(axes: plt.Axes, independent: np.ndarray, planned: np.ndarray, share: float) -> None:
    """Draw how far running counts (steps, lines) stray from `share` a step."""
    steps = np.arange(1, len(planned) + 1)[:, None]
    for counts, color, name in (
        (independent, INDEPENDENT, "independent draws"),
        (planned, PLAN, "hybrid_fast"),
    ):
        lines = axes.plot(steps, np.cumsum(counts, axis=0) - share * steps, color=color, lw=0.8)
        lines[0].set_label(name)
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main()
