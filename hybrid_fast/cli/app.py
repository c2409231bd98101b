"""The hybrid-fast command: its subcommands, and one line on stderr for every user error.

Commands import heavy modules when they run, so that --help is fast.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, cast

import typer

from hybrid_fast.cli.commands import encode, evaluate, index, mine, read, search, train
from hybrid_fast.cli.messages import plain_messages, say, show_any_text
from hybrid_fast.common.allocator import keep_freed_memory
from hybrid_fast.common.errors import PartlyDoneError
from hybrid_fast.common.launch import find_launch

app = typer.Typer(
    help="Train and evaluate multilingual dense retrievers with hybrid batches.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
BAD_INPUT = 2
SHARED_COMMANDS = ("train", "train-reader", "evaluate", "encode")  # by the processes of a launcher
# Encoding and training take and free large blocks in turn.
COMPUTING_COMMANDS = (
    "demo", "train", "sweep", "evaluate", "encode", "search", "mine", "index", "train-reader",
    "evaluate-reader",
)  # fmt: skip
PARTLY_DONE = 1
# The class of typer's usage errors, which has no public name.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__base__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input or usage exits with status 2 and one line on stderr.

    What fails after the model was saved exits with status 1, and a line that says where it is.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        keep_memory(arguments)
    arguments = list(arguments)
    show_any_text()
    if "--debug" in arguments:
        sys.exit(app(arguments))
    try:
        with plain_messages():
            status = app(arguments or ["--help"], prog_name="hybrid-fast", standalone_mode=False)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "hybrid-fast"
        say(f"error: {error.format_message().rstrip('.')}; see {command} --help")
        sys.exit(BAD_INPUT)
    except (ValueError, TypeError, OSError, ImportError) as error:
        say(f"error: {error}")
        sys.exit(BAD_INPUT)
    except PartlyDoneError as error:
        say(f"error: {error}")
        sys.exit(PARTLY_DONE)
    except (MemoryError, RuntimeError) as error:
        from hybrid_fast.training.compat import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        say(f"error: {str(error) or 'memory ran out'}")
        sys.exit(BAD_INPUT)
    if status:
        sys.exit(status)


def keep_memory(arguments: Sequence[str]) -> None:
    """Let this process keep freed memory if it is a command that computes.

    Args:
        arguments: of the command line; with --debug a line says so.
    """
    if arguments and arguments[0] in COMPUTING_COMMANDS and keep_freed_memory():
        if "--debug" in arguments:
            say("freed memory is kept for the next allocation (mallopt)")


def check_alone(command: str | None) -> None:
    """Check that a command that processes cannot share runs in one.

    Raises:
        ValueError: a launcher has started several processes.
    """
    launch = find_launch()
    if launch.world_size > 1 and command not in SHARED_COMMANDS:
        raise ValueError(
            f"{command} runs in one process, and {launch.launcher} has started "
            f"{launch.world_size}; start it without {launch.launcher}"
        )


def show_version(wanted: bool) -> None:
    """Print the version and exit, if `wanted`."""
    if wanted:
        print(f"hybrid-fast {version('hybrid_fast')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Train and evaluate multilingual dense retrievers with hybrid batches."""
    check_alone(context.invoked_subcommand)


# Recipe fields, which typer does not know, are options too.
TAKES_FIELDS = {"allow_extra_args": True, "ignore_unknown_options": True}
app.command()(train.demo)
app.command(context_settings=TAKES_FIELDS)(train.train)
app.command(context_settings=TAKES_FIELDS)(train.sweep)
app.command(context_settings=TAKES_FIELDS)(train.plan)
app.command()(evaluate.evaluate)
app.command()(encode.encode)
app.command()(evaluate.evaluate_run)
app.command()(read.train_reader)
app.command()(read.evaluate_reader)
app.command()(evaluate.report)
app.command()(search.search)
app.command()(search.delete)
app.command()(index.index)
app.command()(mine.mine)
