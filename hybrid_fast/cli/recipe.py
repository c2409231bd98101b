"""Recipes: YAML files that describe a training run each."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid_fast.cli.typed import check_options, typed_value
from hybrid_fast.cli.yaml_text import parse_yaml, read_fields
from hybrid_fast.common.choices import nearest
from hybrid_fast.data import load_table
from hybrid_fast.data.loading import READERS
from hybrid_fast.evaluation import load_task
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainingArguments

GIVEN_ELSEWHERE = {"output_dir": "--out", "resume_from_checkpoint": "--resume"}


@dataclass
class Recipe:
    """The parts of a run other than its HybridTrainingArguments.

    Attributes:
        model: "static" for an encoder trained from scratch on the texts of `train`, else a folder
            or hub name.
        model_options: keyword arguments of BiEncoder.static or BiEncoder.from_pretrained.
        train: "builtin", or sources as keyword arguments of load_table (`path`, `format`, ...).
        data_root: folder that relative paths start from, itself relative to the recipe's folder.
        task: name of the task that evaluates the model, after training and as `eval_strategy` says.
        task_data: folder of its files.
        task_options: further keyword arguments of load_task.
    """

    model: str = "static"
    model_options: dict[str, Any] = field(default_factory=dict)
    train: str | list[dict[str, Any]] = "builtin"
    data_root: str | None = None
    task: str | None = None
    task_data: str | None = None
    task_options: dict[str, Any] = field(default_factory=dict)


def load_recipe(
    path: Path, overrides: dict[str, str] | None = None
) -> tuple[Recipe, dict[str, Any], dict[str, str]]:
    """Read a recipe.

    Args:
        path: the YAML file.
        overrides: fields given on the command line, as YAML text.

    Returns:
        The recipe, the fields of HybridTrainingArguments, and the place of each field, "file:line"
        or "command line".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no YAML mapping, an unknown field, or a value of the wrong type; the message
            names file, line and field.
    """
    fields, places = read_fields(path)
    for name, text in (overrides or {}).items():
        places[name] = "command line"
        fields[name] = parse_yaml(text, f"--{name}")
    of_recipe = typing.get_type_hints(Recipe)
    of_training = _training_annotations()
    recipe: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for name, value in fields.items():
        if name in GIVEN_ELSEWHERE:
            raise ValueError(f"{places[name]}: {name} is not a field; use {GIVEN_ELSEWHERE[name]}")
        if name not in of_recipe | of_training:
            hint = nearest(name, [*of_recipe, *of_training])
            raise ValueError(f"{places[name]}: unknown field {name!r}{hint}")
        if name in of_recipe:
            recipe[name] = typed_value(name, value, of_recipe[name], places[name])
        else:
            training[name] = typed_value(name, value, of_training[name], places[name])
    recipe["data_root"] = str(path.resolve().parent / (recipe.get("data_root") or "."))
    loaded = Recipe(**recipe)
    _check_options(loaded, places)
    return loaded, training, places


def read_overrides(arguments: Sequence[str]) -> dict[str, str]:
    """Read `--name value` and `--name=value` pairs of the command line.

    Raises:
        ValueError: a value without a name or a name without a value.
    """
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise ValueError(
                f"unexpected argument {name!r}; recipe fields come after the recipe as --name value"
            )
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{name} has no value; write {name} value")
            value = rest.pop(0)
        overrides[name[2:].replace("-", "_")] = value
    return overrides


@contextmanager
def located(places: dict[str, str]) -> Iterator[None]:
    """Prefix an error about a field, whose message begins with its name, with the field's place."""
    try:
        yield
    except ValueError as error:
        name = re.match(r"\w*", str(error))
        if name is None or name[0] not in places:
            raise
        raise ValueError(f"{places[name[0]]}: {error}") from error


def _training_annotations() -> dict[str, Any]:
    annotations = typing.get_type_hints(HybridTrainingArguments)
    fields = dataclasses.fields(HybridTrainingArguments)
    return {field.name: annotations[field.name] for field in fields if field.init}


def _check_options(recipe: Recipe, places: dict[str, str]) -> None:
    place = places.get("model_options", "")
    if recipe.model == "static":
        check_options("model_options", recipe.model_options, BiEncoder.static, ["texts"], place)
    else:
        load = BiEncoder.from_pretrained
        check_options("model_options", recipe.model_options, load, ["path_or_hub_name"], place)
    place = places.get("task_options", "")
    check_options("task_options", recipe.task_options, load_task, ["name", "data"], place)
    if not isinstance(recipe.train, str):
        _check_sources(recipe.train, places["train"])


def _check_sources(sources: list[dict[str, Any]], place: str) -> None:
    """Check types only; each reader checks its options itself."""
    if not sources:
        raise ValueError(f"{place}: train has no source; give at least one, or builtin")
    readers = (getattr(reader, "func", reader) for reader in READERS.values())
    annotations: dict[str, Any] = {"path": str}
    for function in (*readers, load_table):
        annotations |= typing.get_type_hints(function)
    for number, source in enumerate(sources, 1):
        for option, value in source.items():
            if option in annotations:
                name = f"train, source {number}: {option}"
                typed_value(name, value, annotations[option], place)
