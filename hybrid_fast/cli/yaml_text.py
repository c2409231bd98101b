"""YAML with the line of every field, read safely, with the numbers and truth values of YAML 1.2.

PyYAML follows YAML 1.1, where `no` (Norwegian, or "save nothing") is false and 1e-3 is a text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema for truth values and floats."""


_Loader.yaml_implicit_resolvers = {
    first: [resolver for resolver in resolvers if resolver[0] not in (_BOOL, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _BOOL, re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str, place: str) -> Any:
    """Return the value of a YAML text.

    Args:
        text: one YAML document.
        place: where the text comes from, for messages.

    Raises:
        ValueError: it is not valid YAML; the message has the line if the text has several.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        lines = text.splitlines()
        mark = error.problem_mark  # one beyond the last line if something is not closed
        line = f":{min(mark.line + 1, len(lines))}" if mark and len(lines) > 1 else ""
        raise ValueError(f"{place}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # control characters; dates that do not exist
        raise ValueError(f"{place}: not valid YAML: {error}") from error


def split_values(text: str, place: str) -> list[str]:
    """Split YAML values at commas, except within brackets, and return their texts.

    Args:
        text: such as "0, 0.5" or "uniform, {de: 1, en: 2}".
        place: where the text comes from, for messages.

    Raises:
        ValueError: it is not valid YAML, or holds no value.
    """
    listed = f"[{text}]"
    parse_yaml(listed, place)
    node = _Loader(listed).get_single_node()
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        raise ValueError(f"{place} has no value; give one, or several separated by commas")
    return [listed[each.start_mark.index : each.end_mark.index] for each in node.value]


def read_fields(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a file of `name: value` fields.

    Returns:
        The values, and the place of each name, "file:line".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a YAML mapping from names, or a name occurs twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; the path of a recipe is needed")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason}") from error
    fields = parse_yaml(text, str(path))
    root = _Loader(text).get_single_node()
    if not isinstance(fields, dict) or not isinstance(root, yaml.MappingNode):
        raise ValueError(f"{path}: holds no fields; 'name: value' lines are needed")
    places: dict[str, str] = {}
    for key, _ in root.value:
        place = f"{path}:{key.start_mark.line + 1}"
        if key.value in places:
            raise ValueError(f"{place}: {key.value} occurs twice, first in {places[key.value]}")
        places[key.value] = place
    unnamed = next((name for name in fields if not isinstance(name, str)), None)
    if unnamed is not None:
        raise ValueError(f"{path}: {unnamed!r} is not the name of a field")
    return fields, places
