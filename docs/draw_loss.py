"""Draws docs/images/loss.png from the JSON of a benchmark run: `python docs/draw_loss.py JSON`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt

COLORS = {
    "ours": "#1b6ca8",
    "ours, precision bf16": "#5aa9d6",
    "ours, symmetric": "#123f63",
    "naive": "#c9783c",
    "naive, torch.compile": "#8f5a2f",
    "cached loss, 32": "#7a7a7a",
    "cached loss, 512": "#b0b0b0",
}


def main(path: Path) -> None:
    """Draw seconds against batch size, and peak memory."""
    benchmarks = json.loads(path.read_text())["benchmarks"]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4), layout="constrained", width_ratios=[3, 2]
    )
    for name, color in COLORS.items():
        points = sorted(
            (int(found[1]), benchmark["extra_info"]["median_seconds"][name])
            for benchmark in benchmarks
            if (found := re.fullmatch(r"test_float32\[(\d+)-384\]", benchmark["name"]))
        )
        left.plot(*zip(*points, strict=True), "o-", color=color, label=name)
    left.set(
        xscale="log", yscale="log", xlabel="batch size", ylabel="seconds, forward and backward",
        title="float32, 384 dimensions, 2 cores",
    )  # fmt: skip
    left.set_xticks([1024, 4096, 8192], ["1,024", "4,096", "8,192"], minor=False)
    left.minorticks_off()
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    (memory,) = (
        benchmark["extra_info"]["extra_mib"]
        for benchmark in benchmarks
        if benchmark["fullname"].endswith("test_loss_speed.py::test_peak_memory")
    )
    bars = right.barh(list(memory), list(memory.values()), color=[COLORS[n] for n in memory])
    right.bar_label(bars, fmt="%.0f MiB", padding=3)
    right.invert_yaxis()
    right.set(title="peak memory at 8,192, gradients included", xlabel="MiB")
    right.margins(x=0.2)
    figure.savefig(Path(__file__).parent / "images" / "loss.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
