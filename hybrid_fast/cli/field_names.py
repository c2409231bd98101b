"""The names of training fields, read from the sources of the classes that have them.

Importing these classes takes seconds, which a recipe with an unknown field must not wait for.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

_CLASSES = {
    "hybrid_fast": ("training/arguments.py", "HybridTrainingArguments"),
    "transformers": ("training_args.py", "TrainingArguments"),
}


def training_field_names() -> list[str]:
    """Return the names of the fields of HybridTrainingArguments that can be given, ours first."""
    names = (
        name
        for package, (module, class_name) in _CLASSES.items()
        for name in _fields(_source(package, module), class_name)
    )
    return list(dict.fromkeys(names))


def _source(package: str, module: str) -> str:
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent.joinpath(module).read_text(encoding="utf-8")


def _fields(source: str, class_name: str) -> list[str]:
    """Return the annotated names of a dataclass but those that only the class itself sets."""
    found = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    return [
        node.target.id
        for node in found.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and "init=False" not in ast.unparse(node)
        and "ClassVar" not in ast.unparse(node.annotation)
    ]
