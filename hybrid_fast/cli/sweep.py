"""Sweeps: one recipe with fields that take several values, every run in a folder of its own.

The folder of a run holds its recipe too, so that a sweep that is started again skips complete runs,
continues unfinished ones, and refuses to mix runs of different recipes.
"""

from __future__ import annotations

import json
import re
import shutil
import traceback
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from hybrid_fast.cli.checks import CHECKPOINTS, MODEL, check_evaluation, make_arguments
from hybrid_fast.cli.comparison import read_runs
from hybrid_fast.cli.messages import say
from hybrid_fast.cli.recipe import Recipe, load_recipe, located
from hybrid_fast.cli.runs import run_recipe
from hybrid_fast.cli.yaml_text import split_values
from hybrid_fast.common.files import complete_folder
from hybrid_fast.common.locks import sole_use
from hybrid_fast.reporting.sweeps import Point, print_sweep, write_sweep
from hybrid_fast.results.results import FILE_NAME
from hybrid_fast.training.checkpoints import complete_checkpoints

RECIPE = "recipe.json"


@dataclass
class SweepRun:
    """One run of a sweep.

    Attributes:
        folder: its folder, which may not exist yet.
        point: the values of the swept fields as text; the name of the model in the results.
        values: swept field to value, without the seed.
        seed: seed of model and batch plan.
        recipe: see `load_recipe`.
        training: see `load_recipe`.
    """

    folder: Path
    point: str
    values: dict[str, Any]
    seed: int
    recipe: Recipe
    training: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def fields(self) -> dict[str, Any]:
        """All fields of the recipe and the command line, as JSON returns them."""
        return json.loads(json.dumps({**asdict(self.recipe), **self.training}, default=str))


def run_sweep(
    path: Path,
    overrides: dict[str, str],
    num_seeds: int | None,
    out: Path,
    console: Console,
    debug: bool = False,
) -> list[str]:
    """Run every run that is not complete, then write sweep.json and sweep.html.

    Args:
        path: the recipe.
        overrides: fields given on the command line, each as YAML values separated by commas.
        num_seeds: run seeds 0 to num_seeds - 1; None for the recipe's `seed`.
        out: folder that gets a folder for each run.
        console: where the table is printed.
        debug: whether to show the traceback of a run that fails.

    Returns:
        The names of runs that failed; all others are complete.

    Raises:
        ValueError: a value is invalid, or a run in `out` is of another recipe.
        FileExistsError: another sweep works in `out`.
    """
    runs = plan_sweep(path, overrides, num_seeds, out)
    with sole_use(out):
        failed = _run_all(runs, debug)
        _report([run for run in runs if run.name not in failed], failed, path.stem, out, console)
    return list(failed)


def _run_all(runs: list[SweepRun], debug: bool) -> dict[str, str]:
    """Run every run that is not complete; return the names of those that failed, and why."""
    complete = [is_complete(run) for run in runs]
    failed: dict[str, str] = {}
    for number, run in enumerate(runs, 1):
        title = f"run {number} of {len(runs)}, {run.name}"
        if complete[number - 1]:
            say(f"{title}: complete")
            continue
        say(title)
        try:
            start_or_resume(run)
        except Exception as error:  # whatever it is, the other runs go on
            if debug:
                traceback.print_exc()
            failed[run.name] = " ".join(str(error).split()) or type(error).__name__
            say(f"{run.name} failed: {failed[run.name]}")
    return failed


def plan_sweep(
    path: Path, overrides: dict[str, str], num_seeds: int | None, out: Path
) -> list[SweepRun]:
    """Return the runs of a sweep, one for each combination of values.

    Everything is checked that needs nothing loaded.

    Raises:
        ValueError: a value is invalid or occurs twice, or the recipe has no task.
    """
    texts = {name: split_values(text, f"--{name}") for name, text in overrides.items()}
    if num_seeds is not None:
        if "seed" in texts:
            raise ValueError("--seeds and --seed are both given; leave out one of them")
        texts["seed"] = [str(seed) for seed in range(num_seeds)]
    swept = [name for name, values in texts.items() if len(values) > 1 and name != "seed"]
    file_names = {name: _file_names(texts[name]) for name in swept}
    runs: list[SweepRun] = []
    for positions in product(*(range(len(values)) for values in texts.values())):
        chosen = dict(zip(texts, positions, strict=True))
        given = {name: texts[name][position] for name, position in chosen.items()}
        recipe, training, places = load_recipe(path, given)
        point = ",".join(f"{name}={file_names[name][chosen[name]]}" for name in swept)
        with located(places):
            args = make_arguments(training, out)
            check_evaluation(args, recipe.task)
        if recipe.task is None:
            raise ValueError(
                f"{path}: names no task to compare runs on; add one, such as task: builtin"
            )
        folder = out / f"{point}{',' if point else ''}seed={args.seed}"
        fields = {**asdict(recipe), **training}
        values = {name: fields[name] for name in swept}
        run = SweepRun(folder, point or path.stem, values, args.seed, recipe, training)
        if any(
            run.folder == other.folder or (run.values, run.seed) == (other.values, other.seed)
            for other in runs
        ):
            raise ValueError(f"{run.name} would be run twice; give each value once")
        runs.append(run)
    return runs


def _file_names(texts: list[str]) -> list[str]:
    """Return a short name for each value, valid in a folder's name; equal ones are numbered."""
    names: list[str] = []
    for text in texts:
        name = re.sub(r"[^\w.+-]+", "-", text)[:40]
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def is_complete(run: SweepRun) -> bool:
    """Return whether a run is complete.

    Raises:
        ValueError: its folder holds something else, or a run of another recipe.
    """
    if not run.folder.exists():
        return False
    try:
        stored = json.loads((run.folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{run.folder} holds no run of a sweep; choose another folder for --out"
        ) from error
    fields = run.fields
    for name in (*fields, *stored):
        if stored.get(name) != fields.get(name):
            raise ValueError(
                f"{run.folder} was made with {name} {stored.get(name)!r}, and the recipe now says "
                f"{fields.get(name)!r}; choose another folder for --out, or remove that one"
            )
    return (run.folder / FILE_NAME).is_file()


def start_or_resume(run: SweepRun) -> None:
    """Evaluate a run whose model is trained; else continue from its last checkpoint, or begin."""
    with sole_use(run.folder):
        trained = (run.folder / MODEL).exists()
        resume = trained or bool(complete_checkpoints(str(run.folder / CHECKPOINTS)))
        if not resume:  # what is left of an incomplete checkpoint
            shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)
        with complete_folder(run.folder) as staged:
            text = json.dumps(run.fields, indent=2, ensure_ascii=False)
            (staged / RECIPE).write_text(text + "\n", encoding="utf-8")
    run_recipe(run.recipe, run.training, run.folder, resume, model_name=run.point)


def _report(
    runs: list[SweepRun], failed: dict[str, str], title: str, out: Path, console: Console
) -> None:
    """Print and write the scores of complete runs by point, and list those that failed."""
    by_point: dict[str, list[SweepRun]] = {}
    for run in runs:
        by_point.setdefault(run.point, []).append(run)
    points = [
        Point(
            some[0].values,
            [each for run in some for each in read_runs(run.folder)],
        )
        for some in by_point.values()
    ]
    if points:
        print_sweep(points, console)
        page = write_sweep(points, out, f"Sweep of {title}", failed)
        console.print(f"report: {page}", soft_wrap=True)
    for name, reason in failed.items():
        say(f"failed: {name}: {reason}")
