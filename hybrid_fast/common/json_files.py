"""JSON files, with errors that name file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    """Return the content of a file.

    Args:
        path: the file.
        kind: what it holds, such as dict; object for anything.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON in UTF-8, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: malformed JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} holds a {type(content).__name__}; a {kind.__name__} is needed")
    return content


def read_optional(path: Path) -> dict[str, Any]:
    """Return the mapping in a file; {} if there is no such file."""
    return read_json(path, dict) if path.is_file() else {}


def write_json(path: Path, content: object) -> None:
    """Write a file as people read it."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
