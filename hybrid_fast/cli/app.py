"""Commands of hybrid-fast. Heavy imports happen inside them, so that --help is quick."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from hybrid_fast.cli.folders import check_new
from hybrid_fast.cli.messages import own_warnings, quiet_libraries, say

app = typer.Typer(
    help="Train and evaluate multilingual dense retrievers with hybrid batches.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
BAD_INPUT = 2
FAILED_RUNS = 1
RESULTS = "results.json"
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error and all messages.")
]
OnBadAnswer = Annotated[
    str,
    typer.Option(help="Answers that are not where the file says: 'error', 'relocate' or 'skip'."),
]
# What typer raises for wrong usage; it has no public name there.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input or usage ends with one line on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if "--debug" in arguments:
        sys.exit(app(arguments))
    try:
        with own_warnings():
            status = app(arguments or ["--help"], prog_name="hybrid-fast", standalone_mode=False)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "hybrid-fast"
        say(f"error: {error.format_message().rstrip('.')}; see {command} --help")
        sys.exit(BAD_INPUT)
    except (ValueError, TypeError, OSError, ImportError) as error:
        say(f"error: {error}")
        sys.exit(BAD_INPUT)
    if status:
        sys.exit(status)


def show_version(wanted: bool) -> None:
    """Print the version and end, if wanted."""
    if wanted:
        print(f"hybrid-fast {version('hybrid_fast')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Train and evaluate multilingual dense retrievers with hybrid batches."""


@app.command()
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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="YAML file: one recipe is one run.")],
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
    from hybrid_fast.evaluation import print_results

    if not debug:
        quiet_libraries()
    fields, training, places = load_recipe(recipe, read_overrides(context.args))
    if profile:
        training["profile"] = True
    with located(places):
        results = run_recipe(fields, training, out, resume)
    if results:
        print_results([results], Console())
    if PartialState().is_main_process:
        print(f"trained model: {out / MODEL}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sweep(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="YAML file: one recipe is one run.")],
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


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def plan(
    context: typer.Context,
    recipe: Annotated[Path, typer.Argument(help="YAML file: one recipe is one run.")],
    steps: Annotated[int, typer.Option(help="How many steps to show.", min=1)] = 20,
    debug: Debug = False,
) -> None:
    """Show the first batches of RECIPE, its laws in effect, and what is left out."""
    from hybrid_fast.cli.plan import show_plan
    from hybrid_fast.cli.recipe import load_recipe, located, read_overrides

    if not debug:
        quiet_libraries()
    fields, training, places = load_recipe(recipe, read_overrides(context.args))
    with located(places):
        show_plan(fields, training, steps, Console())


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A folder or hub name.")],
    task: Annotated[str, typer.Option(help="Name of a task, such as builtin, xquad-r or miracl.")],
    data: Annotated[
        str | None,
        typer.Option(help="Folder of the task's files, or its hub name; builtin needs none."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for results.json and report.html.")
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Codes separated by commas [default: all].")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Part of the data set [default: the published one].")
    ] = None,
    candidate_text: Annotated[
        str | None,
        typer.Option(help="'sentence+context' or 'sentence'; of collections 'title+text', 'text'."),
    ] = None,
    segment_length: Annotated[
        int | None, typer.Option(help="Rank documents by windows of so many characters.")
    ] = None,
    document_score: Annotated[
        str | None, typer.Option(help="How windows score a document: 'max' or 'mean@k'.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="New file for the ranking as a TREC run; FILE.qrels beside it."),
    ] = None,
    run_depth: Annotated[int, typer.Option(help="Candidates of a query in --run.", min=1)] = 1000,
    batch_size: Annotated[
        int | None, typer.Option(help="Texts encoded at a time [default: the model's].", min=1)
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(help="Beside the model, separated by commas: bm25,untrained,fusion,rrf."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Evaluate MODEL on monolingual, cross-lingual and multilingual retrieval."""
    if out is not None:
        check_new(out)
    if run is not None:
        for path in (run, Path(f"{run}.qrels")):
            check_new(path, "file for --run")

    from hybrid_fast.cli.comparison import compare_figures
    from hybrid_fast.evaluation import load_task, print_results, write_report
    from hybrid_fast.evaluation.baselines import check_baselines, evaluate_with_baselines
    from hybrid_fast.models import BiEncoder
    from hybrid_fast.models.folders import complete_folder

    names = [] if baselines is None else [name.strip() for name in baselines.split(",")]
    check_baselines(names)
    if not debug:
        quiet_libraries()
    loaded = load_task(
        task,
        data=data,
        languages=None if languages is None else [code.strip() for code in languages.split(",")],
        candidate_text=candidate_text,
        split=split,
        segment_length=segment_length,
        document_score=document_score,
    )
    encoder = BiEncoder.from_pretrained(model)
    results = evaluate_with_baselines(
        loaded,
        encoder,
        names,
        batch_size=batch_size,
        model_name=model,
        run=run,
        run_depth=run_depth,
    )
    runs = [each.to_dict() for each in results]
    figures = [each.per_query for each in results if each.per_query is not None]
    comparison = compare_figures(runs, figures) if names else None
    if out is not None:
        with complete_folder(out.resolve()) as folder:
            for name, each in zip(["model", *names], results, strict=True):
                each.save(folder / name if names else folder)
            write_report(runs, folder, comparison=comparison)
    print_results(runs, Console(), comparison)
    if out is not None:
        print(f"report: {out / 'report.html'}")
    if run is not None:
        print(f"run: {run}, its judgements: {run}.qrels")


@app.command()
def evaluate_run(
    run: Annotated[Path, typer.Argument(help="Run in the form of TREC, plain or .gz.")],
    qrels: Annotated[Path, typer.Argument(help="Judgements in the form of TREC.")],
    metrics: Annotated[
        str | None,
        typer.Option(help="Separated by commas [default: map,ndcg@10,mrr@100,recall@100,...]."),
    ] = None,
    missing: Annotated[
        str, typer.Option(help="Judged queries that RUN lacks: 'zero' or 'leave-out'.")
    ] = "zero",
    out: Annotated[
        Path | None, typer.Option(help="New JSON file for figures, also by query.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Evaluate a ranked RUN against QRELS as trec_eval does, ties included."""
    if out is not None:
        check_new(out)

    from hybrid_fast.evaluation import trec
    from hybrid_fast.evaluation.terminal import print_run

    names = split(metrics) or trec.RUN_METRICS
    figures = trec.evaluate_run(run, qrels, names, missing=cast(trec.Missing, missing))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures.to_dict(), indent=2) + "\n", encoding="utf-8")
    print_run(figures, Console())


@app.command()
def train_reader(
    encoder: Annotated[str, typer.Argument(help="A folder or hub name of a transformer.")],
    data: Annotated[
        list[str],
        typer.Argument(help="SQuAD-shaped files, patterns with {lang}, or folders of them."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the reader.")],
    lang: Annotated[
        str | None, typer.Option(help="Language of files whose path does not tell it.")
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Which to train on, by commas (default: all).")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 2.0,
    max_steps: Annotated[int | None, typer.Option(help="Steps, in place of epochs.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Its highest value.")] = 3e-5,
    batch_size: Annotated[int, typer.Option(help="Windows of text in a step.")] = 16,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a window (default: 384, or what it takes).")
    ] = None,
    doc_stride: Annotated[
        int | None, typer.Option(help="Tokens that windows share (default: a third, at most 128).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of new weights, dropout and order.", min=0)] = 0,
    on_bad_answer: OnBadAnswer = "error",
    debug: Debug = False,
) -> None:
    """Train an extractive reader from ENCODER on questions with answers."""
    check_new(out)

    from hybrid_fast.cli.reading import run_training
    from hybrid_fast.evaluation.reading import ReaderTraining

    if not debug:
        quiet_libraries()
    options = ReaderTraining(
        epochs=epochs,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_length=max_length,
        doc_stride=doc_stride,
        seed=seed,
    )
    sources = {"lang": lang, "languages": split(languages), "on_bad_answer": on_bad_answer}
    run_training(encoder, data, sources, out, options)
    print(f"trained reader: {out}")


@app.command()
def evaluate_reader(
    reader: Annotated[str, typer.Argument(help="A folder or hub name.")],
    data: Annotated[
        list[str],
        typer.Option(help="SQuAD-shaped file, pattern with {lang}, or folder; may be repeated."),
    ],
    retriever: Annotated[
        str | None, typer.Option(help="Folder or hub name of the encoder that finds passages.")
    ] = None,
    top_k: Annotated[
        str, typer.Option(help="Numbers of found passages to read, by commas.")
    ] = "1,5,10",
    rules: Annotated[str, typer.Option(help="Of EM and F1: 'squad' or 'mlqa'.")] = "squad",
    lang: Annotated[
        str | None, typer.Option(help="Language of files whose path does not tell it.")
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Which to evaluate, by commas (default: all).")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of a window (default: 384, or what it takes).")
    ] = None,
    doc_stride: Annotated[
        int | None, typer.Option(help="Tokens that windows share (default: a third, at most 128).")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Windows read at a time.", min=1)] = 32,
    on_bad_answer: OnBadAnswer = "error",
    out: Annotated[
        Path | None, typer.Option(help="New folder for reading.json and predictions.jsonl.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Evaluate the answers of READER: exact match and F1 by language."""
    if out is not None:
        check_new(out)
    depths = whole_numbers("top_k", top_k)

    from hybrid_fast.cli.reading import run_evaluation
    from hybrid_fast.evaluation.reading import print_reading

    if not debug:
        quiet_libraries()
    sources = {"lang": lang, "languages": split(languages), "on_bad_answer": on_bad_answer}
    sizes = {"max_length": max_length, "doc_stride": doc_stride}
    results = run_evaluation(
        reader, data, sources, sizes, retriever, top_k=depths, rules=rules, batch_size=batch_size
    )
    if out is not None:
        from hybrid_fast.models.folders import complete_folder

        with complete_folder(out.resolve()) as folder:
            results.save(folder)
    print_reading(results, Console())
    if out is not None:
        print(f"results: {out / 'reading.json'}")


@app.command()
def report(
    results: Annotated[
        list[Path], typer.Argument(help="results.json files of one task, or their folders.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for report.html.")],
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    debug: Debug = False,
) -> None:
    """Compare evaluated runs side by side."""
    check_new(out)
    runs = [run for path in results for run in read_runs(path)]

    from hybrid_fast.cli.comparison import compare_folders
    from hybrid_fast.evaluation import print_results, write_report

    folders = [path if path.is_dir() else path.parent for path in results]
    comparison = compare_folders(runs, folders) if len(runs) > 1 else None
    page = write_report(runs, out, title=title, comparison=comparison)
    print_results(runs, Console(), comparison)
    print(f"report: {page}")


def split(text: str | None) -> list[str] | None:
    """Return the parts of a list with commas; None stays."""
    return None if text is None else [part.strip() for part in text.split(",")]


def whole_numbers(name: str, text: str) -> list[int]:
    """Return the positive numbers of a list with commas; ValueError if it is none."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{name} is {text!r}; whole numbers from 1 like 1,5,10 are needed")
    return [int(part) for part in parts]


def read_runs(path: Path) -> list[dict[str, Any]]:
    """Read the runs of a results.json, or of the one in a folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or holds neither a run nor runs.
    """
    from hybrid_fast.evaluation.terminal import check_runs

    path = path / RESULTS if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; a {RESULTS} is needed")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: malformed JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason}") from error
    runs = content.get("runs", [content]) if isinstance(content, dict) else content
    try:
        check_runs(runs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return runs
