"""Commands that train or show the batch plan. Heavy imports happen inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hybrid_fast.cli.commands.options import AS_PATH, Debug, user_path
from hybrid_fast.cli.folders import claim_new
from hybrid_fast.cli.messages import quiet_libraries
from hybrid_fast.cli.recipe import (
    load_recipe,
    located,
    read_overrides,
    read_recipe,
)
from hybrid_fast.cli.yaml_text import split_values
from hybrid_fast.common.files import check_writable
from hybrid_fast.common.launch import find_launch

FAILED_RUNS = 1
RecipePath = Annotated[
    Path, typer.Argument(metavar="RECIPE", parser=user_path, help="YAML file of one run.")
]


def demo(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option(help="New folder for the report, the results and the models.", **AS_PATH)
    ] = Path("hybrid-fast-demo"),
    seed: Annotated[int, typer.Option(help="Seed of models and batch plans.", min=0)] = 0,
    debug: Debug = False,
) -> None:
    """Train with mono, cross and hybrid batches of the built-in corpus and compare the three."""
    claim_new(context, out)

    from hybrid_fast.cli.demo import run_demo

    if not debug:
        quiet_libraries()
    run_demo(out, seed, Console())


def train(
    context: typer.Context,
    recipe: RecipePath,
    out: Annotated[
        Path, typer.Option(help="Folder for model/, results.json and checkpoints/.", **AS_PATH)
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last complete checkpoint in --out.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print how long each part of training took.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Train as RECIPE says; options override its fields: RECIPE --alpha 0.3."""
    check_writable(out)
    fields, training, places = load_recipe(recipe, read_overrides(context.args))

    from hybrid_fast.cli.checks import MODEL
    from hybrid_fast.cli.runs import run_recipe
    from hybrid_fast.reporting import print_results

    if not debug:
        quiet_libraries()
    if profile:
        training["profile"] = True
    with located(places):
        results = run_recipe(fields, training, out, resume)
    if results is not None:
        print_results([results], Console())
    if find_launch().rank == 0:
        print(f"trained model: {out / MODEL}")


def sweep(
    context: typer.Context,
    recipe: RecipePath,
    out: Annotated[
        Path, typer.Option(help="Folder for sweep.html and a folder per run.", **AS_PATH)
    ],
    seeds: Annotated[
        int | None, typer.Option(help="Run seeds 0 to N - 1 (default: the recipe's seed).", min=1)
    ] = None,
    debug: Debug = False,
) -> None:
    """Run RECIPE with all combinations of the values given for its fields: RECIPE --alpha 0,0.5,1.

    When started again, it skips complete runs and resumes unfinished ones.
    """
    check_writable(out)
    overrides = read_overrides(context.args)
    first = {name: split_values(text, f"--{name}")[0] for name, text in overrides.items()}
    read_recipe(recipe, first)

    from hybrid_fast.cli.sweep import run_sweep

    if not debug:
        quiet_libraries()
    if run_sweep(recipe, overrides, seeds, out, Console(), debug):
        raise typer.Exit(FAILED_RUNS)


def plan(
    context: typer.Context,
    recipe: RecipePath,
    steps: Annotated[int, typer.Option(help="Number of steps to show.", min=1)] = 20,
    debug: Debug = False,
) -> None:
    """Show the first batches of RECIPE, its effective sampling weights, and what is left out."""
    fields, training, places = load_recipe(recipe, read_overrides(context.args))

    from hybrid_fast.cli.plan import show_plan

    if not debug:
        quiet_libraries()
    with located(places):
        show_plan(fields, training, steps, Console())
