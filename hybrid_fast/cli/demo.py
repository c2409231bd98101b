"""The demo: what mono, cross and hybrid batches do, on the built-in corpus, in two minutes."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hybrid_fast.cli.recipe import Recipe
from hybrid_fast.cli.runs import load_parts, run_parts
from hybrid_fast.evaluation import print_results, write_report

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


class ProgressBar(TrainerCallback):
    """Shows the steps of a run."""

    def __init__(self, progress: Progress, title: str) -> None:
        self.progress = progress
        self.task = progress.add_task(title, total=TRAINING["max_steps"])

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Move the bar."""
        self.progress.update(self.task, completed=state.global_step)


def run_demo(out: Path, seed: int, console: Console) -> None:
    """Train the three kinds at equal steps and seed, evaluate them, and write the report.

    Args:
        out: folder that appears with report.html, results.json and <kind>/model/, whole or not at
            all.
        seed: of the models and plans.
        console: where progress and tables go.

    Raises:
        ValueError: `out` exists.
    """
    if out.exists():
        raise ValueError(f"{out} exists; choose another folder with --out")
    out.resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=out.resolve().parent) as temporary:
        folder = Path(temporary) / "demo"
        runs = train_kinds(folder, seed, console)
        write_report(runs, folder, title="hybrid_fast demo")
        folder.rename(out.resolve())
    print_results(runs, console)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)


def train_kinds(folder: Path, seed: int, console: Console) -> list[dict[str, Any]]:
    """Train every kind from the same first model and return their results."""
    runs = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        loading = progress.add_task("corpus and tokenizer", total=1)
        parts = load_parts(RECIPE, seed)
        progress.advance(loading)
        for kind in KINDS:
            bar = ProgressBar(progress, f"{kind} batches")
            training = {**TRAINING, "kind": kind, "seed": seed}
            of_kind = replace(parts, model=deepcopy(parts.model))
            runs.append(run_parts(of_kind, training, folder / kind, callbacks=[bar]))
    return runs
