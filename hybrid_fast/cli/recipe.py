"""Recipes: one YAML file is one training run."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hybrid_fast.data.names import nearest
from hybrid_fast.training import HybridTrainingArguments


@dataclass
class Recipe:
    """What a run is made of besides its HybridTrainingArguments.

    Attributes:
        model: "static" for an encoder trained from scratch on the texts of `train`, else a folder
            or hub name.
        model_options: keyword arguments of BiEncoder.static or BiEncoder.from_pretrained.
        train: "builtin", or sources as keyword arguments of load_table (`path`, `format`, ...).
        data_root: folder that relative paths start from, itself relative to the recipe's folder.
        task: task that the trained model, and `eval_strategy`, is evaluated on.
        task_data: its files.
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
) -> tuple[Recipe, dict[str, Any]]:
    """Read a recipe.

    Args:
        path: the YAML file.
        overrides: fields given on the command line, as YAML text.

    Returns:
        The recipe, and the fields that belong to HybridTrainingArguments.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no YAML mapping, an unknown field (the nearest is named), or a value of the
            wrong type.
    """
    if not path.is_file():
        raise FileNotFoundError(f"recipe {path} does not exist")
    fields = _parse(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(fields, dict):
        raise ValueError(f"{path} holds no fields; write 'name: value' lines")
    for name, text in (overrides or {}).items():
        fields[name] = _parse(text, f"--{name}")
    recipe_types = typing.get_type_hints(Recipe)
    training_types = typing.get_type_hints(HybridTrainingArguments)
    known = {f.name for f in dataclasses.fields(HybridTrainingArguments) if f.init}
    recipe: dict[str, Any] = {}
    training: dict[str, Any] = {}
    for name, value in fields.items():
        if name in recipe_types:
            recipe[name] = _typed(name, value, recipe_types[name], path)
        elif name in known:
            training[name] = _typed(name, value, training_types[name], path)
        else:
            raise ValueError(
                f"{path}: unknown field {name!r}{nearest(str(name), [*recipe_types, *known])}"
            )
    recipe["data_root"] = str(path.resolve().parent / (recipe.get("data_root") or "."))
    return Recipe(**recipe), training


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from error


def _typed(name: str, value: Any, annotation: Any, path: Path) -> Any:
    """Check a value against its annotation; numbers that YAML read as text (1e-3) are converted."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    allowed = typing.get_args(annotation) if union else (annotation,)
    plain = tuple(typing.get_origin(kind) or kind for kind in allowed)
    if any(_is(value, kind) for kind in plain):
        return value
    if float in plain and isinstance(value, int | str):
        try:
            return float(value)
        except ValueError:
            pass
    # Enumerations of transformers take their values as text.
    if isinstance(value, str | bool) and any(_is_enumeration(kind) for kind in plain):
        return value
    expected = " or ".join(getattr(kind, "__name__", str(kind)) for kind in plain)
    raise ValueError(f"{path}: {name} is {value!r}; {expected} is needed")


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if not isinstance(kind, type):
        return False
    return isinstance(value, kind) and not (isinstance(value, bool) and kind in (int, float))


def _is_enumeration(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__members__")
