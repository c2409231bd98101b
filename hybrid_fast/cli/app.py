"""Commands of hybrid-fast. Heavy imports happen inside them, so that --help is quick."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    help="Train and evaluate multilingual dense retrievers with hybrid batches.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
BAD_INPUT = 2
DEFAULT_SEED = 42  # that of transformers.TrainingArguments
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input ends with one line on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(arguments)
    except (ValueError, TypeError, OSError) as error:
        if "--debug" in arguments:
            raise
        message = " ".join(str(error).split())
        print(f"hybrid-fast: error: {message}", file=sys.stderr)
        sys.exit(BAD_INPUT)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the report, the results and the models.")
    ] = Path("hybrid-fast-demo"),
    seed: Annotated[int, typer.Option(help="Seed of models and batch plans.")] = 0,
    debug: Debug = False,
) -> None:
    """Train on mono, cross and hybrid batches of the built-in corpus and compare the three."""
    from hybrid_fast.cli.demo import run_demo

    run_demo(out, seed, Console())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="YAML file: one recipe is one run.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; it must not hold a model yet.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last complete checkpoint in --out.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Train as RECIPE says; every field of it can be given here too: --any_field value."""
    from hybrid_fast.cli.recipe import load_recipe
    from hybrid_fast.cli.runs import load_parts, run_parts
    from hybrid_fast.evaluation import print_results

    fields, training = load_recipe(recipe, recipe_overrides(context.args))
    parts = load_parts(fields, training.get("seed", DEFAULT_SEED))
    results = run_parts(parts, training, out, resume=resume)
    if results:
        print_results([results], Console())
    print(f"trained model: {out / 'model'}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A folder or hub name.")],
    task: Annotated[str, typer.Option(help="xquad-r, mlqa-r or builtin.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the task's files.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for results and report.")] = None,
    candidate_text: Annotated[
        str | None, typer.Option(help="'sentence+context' (default) or 'sentence'.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Texts encoded at a time.", min=1)] = 64,
    debug: Debug = False,
) -> None:
    """Evaluate MODEL on monolingual, cross-lingual and multilingual retrieval."""
    from hybrid_fast.evaluation import load_task, print_results, write_report
    from hybrid_fast.models import BiEncoder

    if out is not None and out.exists():
        raise ValueError(f"{out} exists; choose another folder for --out")
    loaded = load_task(task, data=data, candidate_text=candidate_text)
    encoder = BiEncoder.from_pretrained(model)
    results = loaded.evaluate(encoder, batch_size=batch_size, model_name=model)
    print_results([results.to_dict()], Console())
    if out is not None:
        results.save(out)
        print(f"report: {write_report([results.to_dict()], out)}")


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="results.json files of one task.")],
    out: Annotated[Path, typer.Option(help="Folder for the report.")],
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    debug: Debug = False,
) -> None:
    """Compare evaluated runs side by side."""
    from hybrid_fast.evaluation import print_results, write_report

    runs = [run for path in results for run in read_runs(path)]
    page = write_report(runs, out, title=title)
    print_results(runs, Console())
    print(f"report: {page}")


def read_runs(path: Path) -> list[dict[str, object]]:
    """Read the runs of a results.json.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or holds neither a run nor runs.
    """
    if not path.is_file():
        raise FileNotFoundError(f"results file {path} does not exist")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no results; an object of results.json is needed")
    return content.get("runs", [content])


def recipe_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Read `--name value` and `--name=value` pairs.

    Raises:
        ValueError: a value without a name or a name without a value.
    """
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name = rest.pop(0)
        if not name.startswith("--"):
            raise ValueError(
                f"unexpected argument {name!r}; recipe fields are given as --name value"
            )
        name, equals, value = name[2:].partition("=")
        if not equals:
            if not rest:
                raise ValueError(f"--{name} has no value; write --{name} value")
            value = rest.pop(0)
        overrides[name.replace("-", "_")] = value
    return overrides
