"""Recipes: YAML files that describe a training run each.

Names of fields and paths are checked first: what takes the fields needs seconds to be imported.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid_fast.cli.field_names import training_field_names
from hybrid_fast.cli.paths import check_data, check_source
from hybrid_fast.cli.typed import check_options, typed_value
from hybrid_fast.cli.yaml_text import parse_yaml, read_fields
from hybrid_fast.common.choices import nearest
from hybrid_fast.common.hub import local_folder
from hybrid_fast.common.paths import expanded

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


def read_recipe(
    path: Path, overrides: dict[str, str] | None = None
) -> tuple[Recipe, dict[str, Any], dict[str, str]]:
    """Read a recipe and check what needs nothing imported: names of fields, and paths.

    Args:
        path: the YAML file.
        overrides: fields given on the command line, as YAML text.

    Returns:
        The recipe, the fields of HybridTrainingArguments as they were written, and the place of
        each field, "file:line" or "command line".

    Raises:
        FileNotFoundError: there is no such file, or none that a field names.
        ValueError: no YAML mapping, an unknown field, or a value of the wrong type for a part of
            the recipe; the message names file, line and field.
    """
    fields, places = read_fields(path)
    for name, text in (overrides or {}).items():
        places[name] = "command line"
        fields[name] = parse_yaml(text, f"--{name}")
    _check_names(places)
    given = {
        name: typed_value(name, fields.pop(name), annotation, places[name])
        for name, annotation in typing.get_type_hints(Recipe).items()
        if name in fields
    }
    given["data_root"] = str(path.resolve().parent / expanded(given.get("data_root") or "."))
    recipe = Recipe(**given)
    _check_paths(recipe, places)
    return recipe, fields, places


def load_recipe(
    path: Path, overrides: dict[str, str] | None = None
) -> tuple[Recipe, dict[str, Any], dict[str, str]]:
    """Read a recipe as `read_recipe` does, and check all values and options.

    Raises:
        FileNotFoundError, ValueError: as `read_recipe`; or a value of the wrong type, or an unknown
            option.
    """
    recipe, fields, places = read_recipe(path, overrides)
    training = _typed_training_fields(fields, places)
    _check_options(recipe, places)
    return recipe, training, places


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
    except (TypeError, ValueError) as error:
        name = re.match(r"\w*", str(error))
        if name is None or name[0] not in places:
            raise
        raise ValueError(f"{places[name[0]]}: {error}") from error


def _check_names(places: dict[str, str]) -> None:
    """Raise a ValueError that names the nearest field unless all names are of fields.

    Args:
        places: name to place.
    """
    known = [*typing.get_type_hints(Recipe), *training_field_names()]
    for name, place in places.items():
        if name in GIVEN_ELSEWHERE:
            raise ValueError(f"{place}: {name} is not a field; use {GIVEN_ELSEWHERE[name]}")
        if name not in known:
            raise ValueError(f"{place}: unknown field {name!r}{nearest(name, known)}")


def _check_paths(recipe: Recipe, places: dict[str, str]) -> None:
    """Raise FileNotFoundError with its place for what is neither here nor a name of the hub."""
    if recipe.model != "static":
        with _place_of("model", places):
            local_folder(recipe.model)
    if recipe.task_data is not None:
        with _place_of("task_data", places):
            check_data(recipe.task_data, recipe.data_root)
    if isinstance(recipe.train, str):
        return
    for number, source in enumerate(recipe.train, 1):
        with _place_of("train", places, f", source {number}"):
            root = source.get("root")
            for path in _paths(source):
                check_source(path, root if isinstance(root, str) else recipe.data_root)


@contextmanager
def _place_of(name: str, places: dict[str, str], part: str = "") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{places[name]}: {name}{part}: {error}") from error


def _paths(source: dict[str, Any]) -> list[str]:
    """Return the paths of a source, none if what is given is no path."""
    given = source.get("path")
    listed = given if isinstance(given, list) else [given]
    return [path for path in listed if isinstance(path, str)]


def _typed_training_fields(fields: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    from hybrid_fast.training import HybridTrainingArguments
    from hybrid_fast.training.field_values import field_types

    annotations = field_types(HybridTrainingArguments)
    return {
        name: typed_value(name, value, annotations[name], places[name])
        for name, value in fields.items()
    }


def _check_options(recipe: Recipe, places: dict[str, str]) -> None:
    from hybrid_fast.evaluation import load_task
    from hybrid_fast.models import BiEncoder

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
    from hybrid_fast.data import load_table
    from hybrid_fast.data.loading import READERS

    if not sources:
        raise ValueError(f"{place}: train has no source; give at least one, or builtin")
    readers = (getattr(reader, "func", reader) for reader in READERS.values())
    annotations: dict[str, Any] = {"path": str | list[str]}
    for function in (*readers, load_table):
        annotations |= typing.get_type_hints(function)
    for number, source in enumerate(sources, 1):
        for option, value in source.items():
            if option in annotations:
                name = f"train, source {number}: {option}"
                typed_value(name, value, annotations[option], place)
