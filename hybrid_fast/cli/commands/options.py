"""Options that several commands share, and values that are lists."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from hybrid_fast.common.paths import expanded

Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show tracebacks, and messages of other libraries."),
]

StoreOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--store-option",
        metavar="NAME=VALUE",
        help="Option of this kind of store; may be given several times.",
    ),
]

BatchSize = Annotated[
    int | None, typer.Option(help="Texts encoded at a time (default: the model's).", min=1)
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

# What the folder of an encoder does not say: type, help and names of each option, called as in
# `BiEncoder.from_pretrained`; `max_length` is for sides that have no length of their own.
_ENCODER_OPTIONS: dict[str, tuple[Any, ...]] = {
    "adapter": (str, "Folder or hub name of an adapter (peft) to put into MODEL."),
    "query_prompt": (str, r"Put before each query; \n is a line break."),
    "passage_prompt": (str, r"Put before each passage; \n is a line break."),
    "pooling": (
        str,
        "Such as 'mean', 'cls' or 'last'; several: 'cls+mean' (default: the folder's).",
    ),
    "normalize": (bool, "Scale embeddings to norm 1.", "--normalize/--no-normalize"),
    "similarity": (str, "'cosine' or 'dot' (default: the folder's, else cosine)."),
    "truncate_dim": (int, "Dimensions of embeddings to keep (default: the folder's)."),
    "max_length": (int, "Tokens of a query and of a passage."),
    "max_query_length": (int, "Tokens of a query."),
    "max_passage_length": (int, "Tokens of a passage."),
    "dtype": (str, "Of the weights: fp32, bf16 or fp16 (default: as saved)."),
    "device": (str, "Such as cpu or cuda:1 (default: an accelerator if there is one)."),
    "attn_implementation": (str, "Such as sdpa or flash_attention_2."),
    "bidirectional": (
        bool,
        "Let a decoder attend in both directions (default: as its folder says).",
        "--bidirectional/--no-bidirectional",
    ),
    "revision": (str, "Branch, tag or commit of a hub model (default: main)."),
    "trust_remote_code": (bool, "Run Python files that come with it.", "--trust-remote-code"),
}


def takes_encoder(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of an encoder.

    Args:
        command: gets them as its parameter `encoder_options`, keyword arguments of
            `BiEncoder.from_pretrained`: what was given, and "auto" for the device otherwise. An
            option that is a parameter of the command's own stays that alone.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [each for name, each in signature.parameters.items() if name != "encoder_options"]
    added = {
        name: each for name, each in _ENCODER_OPTIONS.items() if name not in signature.parameters
    }

    @wraps(command)
    def wrapper(**given: Any) -> None:
        options = {name: given.pop(name) for name in added}
        command(**given, encoder_options=_as_keywords(options))

    parameters = [_parameter(name, *each) for name, each in added.items()]
    *first, last = own  # --debug stays the last in the help
    wrapper.__signature__ = signature.replace(parameters=[*first, *parameters, last])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in [*own, *parameters]}
    return wrapper


def _parameter(name: str, kind: type, text: str, *names: str) -> inspect.Parameter:
    more: dict[str, Any] = {"min": 1} if kind is int else {}
    option = typer.Option(*names, help=text, rich_help_panel="Encoder", **more)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _as_keywords(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of `BiEncoder.from_pretrained`.

    In prompts a backslash with "n" becomes a line break.
    """
    options = {
        "device": "auto",
        **{name: value for name, value in given.items() if value is not None},
    }
    both = options.pop("max_length", None)
    for side in ("query", "passage"):
        if both is not None:
            options.setdefault(f"max_{side}_length", both)
        if f"{side}_prompt" in options:
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
    # The maximum length of a reader is another.
    check_not_given(context, [name for name in _ENCODER_OPTIONS if name != "max_length"], needed)


def check_not_given(context: typer.Context, names: Sequence[str], needed: str) -> None:
    """Check that options are not given which serve another one that is not given either.

    Args:
        context: of the command.
        names: their parameters.
        needed: the option that they serve.

    Raises:
        ValueError: some are given.
    """
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{listed} is given without {needed}; add {needed}, or leave it out")


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


def named_columns(option: str, text: str | None) -> dict[str, str] | None:
    """Return a mapping written as "name=field,name=field"; None stays None.

    Raises:
        ValueError: a part is no name=field.
    """
    parts = split_commas(option, text)
    if parts is None:
        return None
    pairs = [part.partition("=") for part in parts]
    if not all(name and equals and field for name, equals, field in pairs):
        raise ValueError(
            f"{option} is {text!r}; it is written as OURS=THEIRS, with commas between, such as "
            "'id=docid,text=body'"
        )
    return {name.strip(): field.strip() for name, _, field in pairs}


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


def parse_store_options(given: list[str] | None) -> dict[str, Any]:
    """Return the options of a store; a value is read as JSON if it is that, else as text.

    Raises:
        ValueError: one is not NAME=VALUE.
    """
    options: dict[str, Any] = {}
    for text in given or []:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise ValueError(f"--store-option is {text!r}; NAME=VALUE is needed, such as nprobe=32")
        try:
            options[name.replace("-", "_")] = json.loads(value)
        except json.JSONDecodeError:
            options[name.replace("-", "_")] = value
    return options
