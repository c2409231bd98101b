"""The demo: mono, cross and hybrid batches compared on the built-in corpus, in two minutes."""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from hybrid_fast.cli.checks import make_arguments
from hybrid_fast.cli.comparison import compare_folders
from hybrid_fast.cli.folders import without_empty_remains
from hybrid_fast.cli.progress import TrainingProgress
from hybrid_fast.cli.recipe import Recipe
from hybrid_fast.cli.runs import load_parts, run_parts
from hybrid_fast.common.errors import kept
from hybrid_fast.reporting import print_results, write_report
from hybrid_fast.results import Results

KINDS = ("mono", "cross", "hybrid")
RECIPE = Recipe(model_options={"dim": 256, "vocab_size": 20_000}, task="builtin")
TRAINING: dict[str, Any] = {
    "max_steps": 500,
    "batch_size": 256,
    "learning_rate": 0.02,
    "warmup_steps": 20,
    "temperature": 0.05,
    "save_strategy": "no",
    "logging_steps": 50,
    "disable_tqdm": True,
    "report_to": "none",
}


def run_demo(out: Path, seed: int, console: Console) -> None:
    """Train the three kinds with equal steps and seed, evaluate them, and write the report.

    Args:
        out: new folder for report.html, results.json and <kind>/model/; models that are trained
            stay if something fails later.
        seed: seed of the models and batch plans.
        console: where tables are printed.
    """
    with without_empty_remains(out.resolve()):
        runs = train_kinds(out, seed)
        with kept(f"the trained models are in {out}"):
            comparison = compare_folders(runs, [out / kind for kind in KINDS])
            write_report(runs, out, title="hybrid_fast demo", comparison=comparison)
    print_results(runs, console, comparison)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def train_kinds(folder: Path, seed: int) -> list[Results]:
    """Train each kind from the same initial model and return the results."""
    parts = load_parts(RECIPE, seed)
    runs: list[Results] = []
    for kind in KINDS:
        args = make_arguments({**TRAINING, "kind": kind, "seed": seed}, folder / kind)
        of_kind = replace(parts, model=deepcopy(parts.model))
        progress = TrainingProgress(f"{kind:6} batches", log_lines=False)
        with kept(f"the models trained so far are in {folder}") if runs else nullcontext():
            results = run_parts(of_kind, args, folder / kind, progress)
        if results is not None:
            runs.append(results)
    return runs
