"""Commands that train, or show what would be trained on. Heavy imports happen inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hybrid_fast.cli.commands.options import Debug
from hybrid_fast.cli.messages import quiet_libraries

FAILED_RUNS = 1
Recipe = Annotated[Path, typer.Argument(help="YAML file: one recipe is one run.")]


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the report, the results and the models.")
    ] = Path("hybrid-fast-demo"),
    seed: Annotated[int, typer.Option(help="Seed of models and batch plans.", min=0)] = 0,
    debug: Debug = False,
) -> None:
    """Train on mono, cross and hybrid batches of the built-in corpus and compare the three."""
    from hybrid_fast.cli.demo import run_demo

    if not debug:
        quiet_libraries()
    run_demo(out, seed, Console())


def train(
    context: typer.Context,
    recipe: Recipe,
    out: Annotated[
        Path, typer.Option(help="Folder that gets model/, results.json and checkpoints/.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last complete checkpoint in --out.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print where the time of training went.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Train as RECIPE says; every field of it can be given here too: RECIPE --alpha 0.3."""
    from accelerate import PartialState

    from hybrid_fast.cli.checks import MODEL
    from hybrid_fast.cli.recipe import load_recipe, located, read_overrides
    from hybrid_fast.cli.runs import run_recipe
    from hybrid_fast.reporting import print_results

    if not debug:
        quiet_libraries()
    fields, training, places = load_recipe(recipe, read_overrides(context.args))
    if profile:
        training["profile"] = True
    with located(places):
        results = run_recipe(fields, training, out, resume)
    if results is not None:
        print_results([results], Console())
    if PartialState().is_main_process:
        print(f"trained model: {out / MODEL}")


def sweep(
    context: typer.Context,
    recipe: Recipe,
    out: Annotated[
        Path, typer.Option(help="Folder that gets a folder for each run, and sweep.html.")
    ],
    seeds: Annotated[
        int | None, typer.Option(help="Run seeds 0 to N - 1 [default: the recipe's seed].", min=1)
    ] = None,
    debug: Debug = False,
) -> None:
    """Run RECIPE with all combinations of values of its fields: RECIPE --alpha 0,0.5,1.

    Started again, it skips complete runs and goes on with unfinished ones.
    """
    from hybrid_fast.cli.recipe import read_overrides
    from hybrid_fast.cli.sweep import run_sweep

    if not debug:
        quiet_libraries()
    if run_sweep(recipe, read_overrides(context.args), seeds, out, Console(), debug):
        raise typer.Exit(FAILED_RUNS)


def plan(
    context: typer.Context,
    recipe: Recipe,
    steps: Annotated[int, typer.Option(help="How many steps to show.", min=1)] = 20,
    debug: Debug = False,
) -> None:
    """Show the first batches of RECIPE, its sampling weights in effect, and what is left out."""
    from hybrid_fast.cli.plan import show_plan
    from hybrid_fast.cli.recipe import load_recipe, located, read_overrides

    if not debug:
        quiet_libraries()
    fields, training, places = load_recipe(recipe, read_overrides(context.args))
    with located(places):
        show_plan(fields, training, steps, Console())
