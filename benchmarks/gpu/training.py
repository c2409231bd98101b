"""Training of an XLM-R-base-shaped encoder beside sentence-transformers, each run in a process.

Ours with padded texts (with and without cuDNN's attention), as it comes, and with compiled layers;
the cached loss of sentence-transformers at its best mini-batch. All see the same texts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cuda_timing import SQUARE, matmul_rate

from gpu import processes
from gpu.build import KEPT_OUTPUT
from gpu.settings import Case, Settings, Task

MINI_BATCH = 256  # of the cached loss, at which it is fastest
NEEDED = ("transformers", "sentence_transformers", "datasets", "babel")
PADDED = {"HYBRID_FAST_WAYS": "attention=torch"}
# By way: environment, arguments of the trainer, and whether cuDNN's attention may be used, which
# the library decides unless it is said.
WAYS: dict[str, tuple[dict[str, str], dict[str, Any], bool | None]] = {
    "padded": (PADDED, {}, False),
    "padded_cudnn": (PADDED, {}, True),
    "default": ({}, {}, None),
    "compiled": ({}, {"torch_compile": True}, None),
    f"cached_{MINI_BATCH}": ({}, {}, None),
}
OURS = tuple(way for way in WAYS if not way.startswith("cached"))
THEIRS = f"cached_{MINI_BATCH}"
MEAN_WORDS, MOST_WORDS = {"query": 15, "passage": 60}, 250


@dataclass(frozen=True)
class Run:
    """One training: the way, pairs a batch, steps, and rate of dropout."""

    way: str
    batch: int
    steps: int
    dropout: float = 0.0
    profiled: bool = False
    limit_s: float = 90

    def __str__(self) -> str:
        return f"{self.way}, {self.batch:,} pairs, dropout {self.dropout:g}"


PROFILED = Run("compiled", 8192, 3, profiled=True, limit_s=150)


def plan() -> list[Run]:
    """Return the runs, the most important first."""
    return [
        Run("default", 8192, 4),
        Run("compiled", 8192, 4, limit_s=150),
        Run(THEIRS, 8192, 2),
        Run("compiled", 65536, 2, limit_s=180),
        Run("compiled", 8192, 4, dropout=0.1, limit_s=150),
        Run(THEIRS, 8192, 2, dropout=0.1),
        Run("default", 65536, 2, limit_s=120),
        Run("padded", 8192, 3),
        Run("default", 8192, 3, dropout=0.1),
        Run("padded_cudnn", 8192, 3),
        Run(THEIRS, 65536, 1, limit_s=200),
        Run("compiled", 65536, 2, dropout=0.1, limit_s=180),
        Run(THEIRS, 65536, 1, dropout=0.1, limit_s=200),
        Run("default", 65536, 2, dropout=0.1, limit_s=120),
        Run("padded", 65536, 2, limit_s=150),
    ]


def tasks(settings: Settings) -> Iterator[Task]:
    """Give the rate of a product, and the runs of `plan`."""
    yield Task("rate", rate)
    for each in plan():
        # Its own process is given a little less than this one's limit.
        yield Task(str(each), partial(run, each), needs_s=25, limit_s=each.limit_s + 15)


def rate(settings: Settings, deadline: float) -> dict[str, Any]:
    """Return FLOP/s of a large product, of which training should reach a share."""
    size = settings.scaled(Case(SQUARE, 16, ""), by=64).size
    return {"matmul_flop_per_s": matmul_rate(settings.device, size)}


def run(each: Run, settings: Settings, deadline: float) -> dict[str, Any]:
    """Return what a run in a process of its own measured, as far as it came in its time."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return {"skipped": f"needs {', '.join(missing)}, not installed; see CONTRIBUTING.md"}
    environment, arguments, cudnn = WAYS[each.way]
    settings.folder.mkdir(parents=True, exist_ok=True)
    specification = asdict(each) | {
        "arguments": arguments,
        "cudnn": cudnn,
        "tiny": settings.tiny,
        "folder": str(settings.folder),
        "out": str(settings.folder / "run.json"),
    }
    out = Path(specification["out"])
    out.unlink(missing_ok=True)
    settings.device.empty_cache()
    returncode, said = processes.run(
        ["-m", "gpu.training_run", json.dumps(specification)],
        min(each.limit_s, deadline - time.monotonic()),
        {"TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"} | environment,
    )
    found = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if returncode != 0:
        # Steps that it has measured stay.
        found["ended_early" if found.get("steps_s") else "failed"] = said[-KEPT_OUTPUT:]
    return found
