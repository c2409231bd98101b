"""Print where a training step of a real encoder goes: torch's operators, most time first.

    HYBRID_FAST_REAL_ENCODER=FOLDER python benchmarks/profile_step.py [PAIRS] [float32]

The folder of TyDi QA GoldP is found as the benchmark of the real encoder finds it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import machine
from real_texts import draw_tydi
from torch.profiler import ProfilerActivity, profile
from trainers import Pairs, train_ours

from hybrid_fast.models import BiEncoder

NUM_ROWS = 25


def main() -> None:
    """Profile two steps, the first of which is on texts of two words."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", nargs="?", type=int, default=48, help="pairs of a step")
    parser.add_argument("precision", nargs="?", choices=("bf16", "float32"), default="bf16")
    given = parser.parse_args()
    size, precision = given.size, given.precision
    folder = os.environ.get("HYBRID_FAST_REAL_ENCODER")
    if not folder:
        parser.error("HYBRID_FAST_REAL_ENCODER must name the folder of an encoder")
    pairs = Pairs.of(*draw_tydi(machine.ROOT.parent / "shared" / "data", size))
    encoder = BiEncoder.from_pretrained(folder, max_query_length=256, max_passage_length=256)
    details: dict[str, object] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        profile(activities=[ProfilerActivity.CPU]) as profiled,
    ):
        run = train_ours(Path(scratch), pairs, encoder, details, bf16=precision == "bf16")
    print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=NUM_ROWS))
    print(f"second step, profiled: {run.seconds:.1f} s for {size} pairs; {details}")


if __name__ == "__main__":
    main()
