"""Options that several commands share, and values that are lists."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hybrid_fast.common.paths import expanded

Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show tracebacks, and messages of other libraries."),
]


def user_path(text: str | Path) -> Path:
    """Return a path with `~` and `$NAME` replaced.

    Raises:
        BadParameter: it is empty, or is no text in the encoding of this locale: what is written of
            a run names its paths.
    """
    try:
        str(text).encode()
        return expanded(text)
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        todo = "give it another name" if encoding == "utf-8" else "set LC_ALL=C.UTF-8"
        raise typer.BadParameter(f"{text!r} is no text in {encoding}; {todo}") from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


AS_PATH: dict[str, Any] = {"parser": user_path, "metavar": "PATH"}

# What the folder of an encoder does not say, under the names of `BiEncoder.from_pretrained`.
_PANEL: dict[str, Any] = {"rich_help_panel": "Encoder"}
QueryPrompt = Annotated[
    str | None, typer.Option(help=r"Put before each query; \n is a line break.", **_PANEL)
]
PassagePrompt = Annotated[
    str | None, typer.Option(help=r"Put before each passage; \n is a line break.", **_PANEL)
]
Adapter = Annotated[
    str | None,
    typer.Option(help="Folder or hub name of an adapter (peft) to put into MODEL.", **_PANEL),
]
Pooling = Annotated[
    str | None,
    typer.Option(
        help="Such as 'mean', 'cls' or 'last'; several: 'cls+mean' (default: the folder's).",
        **_PANEL,
    ),
]
Normalize = Annotated[
    bool | None,
    typer.Option("--normalize/--no-normalize", help="Scale embeddings to norm 1.", **_PANEL),
]
Similarity = Annotated[
    str | None,
    typer.Option(help="'cosine' or 'dot' (default: the folder's, else cosine).", **_PANEL),
]
TruncateDim = Annotated[
    int | None,
    typer.Option(help="Dimensions of embeddings to keep (default: the folder's).", min=1, **_PANEL),
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-length", help="Tokens of a query and of a passage.", min=1, **_PANEL),
]
MaxQueryLength = Annotated[int | None, typer.Option(help="Tokens of a query.", min=1, **_PANEL)]
MaxPassageLength = Annotated[int | None, typer.Option(help="Tokens of a passage.", min=1, **_PANEL)]
Dtype = Annotated[
    str | None,
    typer.Option(help="Of the weights: fp32, bf16 or fp16 (default: as saved).", **_PANEL),
]
Device = Annotated[
    str, typer.Option(help="Such as cpu or cuda:1; auto: an accelerator if there is one.", **_PANEL)
]
AttnImplementation = Annotated[
    str | None, typer.Option(help="Such as sdpa or flash_attention_2.", **_PANEL)
]
Bidirectional = Annotated[
    bool | None,
    typer.Option(
        "--bidirectional/--no-bidirectional",
        help="Let a decoder attend in both directions (default: as its folder says).",
        **_PANEL,
    ),
]
Revision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a hub model (default: main).", **_PANEL)
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python files that come with it.", **_PANEL),
]
_OF_FROM_PRETRAINED = (
    "adapter",
    "query_prompt",
    "passage_prompt",
    "pooling",
    "normalize",
    "similarity",
    "truncate_dim",
    "max_query_length",
    "max_passage_length",
    "dtype",
    "device",
    "attn_implementation",
    "bidirectional",
    "revision",
    "trust_remote_code",
)


def encoder_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of `BiEncoder.from_pretrained` among the options of a command.

    Args:
        given: the options by name; in prompts a backslash with "n" becomes a line break.
    """
    options = {name: given[name] for name in _OF_FROM_PRETRAINED if name in given}
    for side in ("query", "passage"):
        if options[f"{side}_prompt"] is not None:
            options[f"{side}_prompt"] = options[f"{side}_prompt"].replace(r"\n", "\n")
    return options


def check_no_encoder_options(context: typer.Context, needed: str) -> None:
    """Check that no options of an encoder are given to a command that loads none.

    Args:
        context: of the command.
        needed: the option that names the encoder.

    Raises:
        ValueError: some are.
    """
    sources = {name: context.get_parameter_source(name) for name in _OF_FROM_PRETRAINED}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{listed} is given without {needed}; add {needed}, or leave it out")


def both_lengths(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a command with `max_length` for a side that has no length of its own.

    Args:
        given: the options by name.
    """
    names = ("max_query_length", "max_passage_length")
    return {**given, **{name: given[name] or given["max_length"] for name in names}}


def split_commas(option: str, text: str | None) -> list[str] | None:
    """Return the parts of a comma-separated list; None stays None.

    Args:
        option: what the list was given for, for the message.
        text: the list.

    Raises:
        ValueError: a part is empty.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ValueError(f"{option} is {text!r}; names separated by single commas are needed")
    return parts


def whole_numbers(option: str, text: str) -> list[int]:
    """Return the numbers of a comma-separated list.

    Args:
        option: what the list was given for, for the message.
        text: the list.

    Raises:
        ValueError: a part is no whole number from 1.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"{option} is {text!r}; whole numbers from 1 like 1,5,10 are needed")
    return [int(part) for part in parts]
