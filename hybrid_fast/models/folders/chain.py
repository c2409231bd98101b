"""modules.json: the chain of modules of a model of sentence-transformers.

Trained are Transformer and Pooling, or StaticEmbedding, and after them any modules of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.choices import nearest
from hybrid_fast.common.json_files import read_json, read_optional, write_json
from hybrid_fast.models.folders.custom_code import find_ordinary
from hybrid_fast.models.folders.foreign import OTHER_MODULES, untrainable
from hybrid_fast.models.head.modules import HEAD_MODULES

MODULES_FILE = "modules.json"

_HOME = "sentence_transformers"
_CLASSES = {
    "Transformer": f"{_HOME}.base.modules.transformer.Transformer",
    "Pooling": f"{_HOME}.sentence_transformer.modules.pooling.Pooling",
    "StaticEmbedding": f"{_HOME}.sentence_transformer.modules.static_embedding.StaticEmbedding",
    "Dense": f"{_HOME}.base.modules.dense.Dense",
    "LayerNorm": f"{_HOME}.sentence_transformer.modules.layer_norm.LayerNorm",
    "Dropout": f"{_HOME}.sentence_transformer.modules.dropout.Dropout",
    "Normalize": f"{_HOME}.base.modules.normalize.Normalize",
}


class Part(NamedTuple):
    """One module of a chain."""

    name: str  # its class, without the package: a key of `_CLASSES`
    folder: Path


def read_chain(folder: Path, *, trust_remote_code: bool = False) -> list[Part]:
    """Return the modules that modules.json lists, all of classes that are known here.

    Args:
        folder: of the model.
        trust_remote_code: whether the code of classes that are not of sentence-transformers may be
            run, which tells whether they are ordinary ones under another name.

    Raises:
        UntrainableChainError: it lists a module that cannot be trained.
        ValueError: it is damaged, or lists a class whose code is not trusted.
    """
    parts, has_own_code = [], False
    for each, place in _read_entries(folder):
        if not each.startswith(f"{_HOME}."):
            has_own_code = True
            each = find_ordinary(each, folder, place, tuple(_CLASSES), trust_remote_code)
        parts.append(Part(each.rpartition(".")[2], place))
    if not {part.name for part in parts} <= _CLASSES.keys():
        listed = ", ".join(part.name + _about(part.name) for part in parts)
        what = f"{folder / MODULES_FILE} lists {listed}"
        raise untrainable(folder, what, trust_remote_code=has_own_code)
    return parts


def _about(name: str) -> str:
    """Return what a module is that cannot be trained, in brackets; "" of others."""
    if name in _CLASSES:
        return ""
    return f" ({OTHER_MODULES.get(name) or 'not known here' + nearest(name, _CLASSES)})"


def _read_entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the class and the folder of each module."""
    file = folder / MODULES_FILE
    for index, module in enumerate(read_json(file, list)):
        if not isinstance(module, dict) or not {"path", "type"} <= module.keys():
            raise ValueError(f"{file}: entry {index} needs 'path' and 'type'")
        place = folder / str(module["path"])
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{file}: the path {module['path']!r} is outside the folder")
        yield str(module["type"]), place


def check_order(folder: Path, parts: Sequence[Part]) -> tuple[Part | None, list[Part]]:
    """Return the Pooling of a chain, None after StaticEmbedding, and the modules after it.

    Args:
        folder: of the model, for messages.
        parts: its chain.

    Raises:
        UntrainableChainError: a module works on the states of tokens, before Pooling.
        ValueError: a module is missing, or the order is another one.
    """
    names = [part.name for part in parts]
    start = 1 if names[:1] == ["StaticEmbedding"] else 2
    for part in parts[1:]:
        if names[0] != "Transformer" or part.name == "Pooling":
            break
        given = read_optional(part.folder / "config.json").get("module_input_name")
        if given == "token_embeddings":
            what = f"{part.folder} is a {part.name} of the states of tokens, before Pooling"
            raise untrainable(folder, what)
    is_started = start == 1 or names[:2] == ["Transformer", "Pooling"]
    if not is_started or not set(names[start:]) <= HEAD_MODULES.keys():
        raise ValueError(
            f"{folder / MODULES_FILE} lists {', '.join(names) or 'nothing'}; needed are "
            "Transformer and Pooling, or StaticEmbedding, and then any of "
            f"{', '.join(HEAD_MODULES)}, in any number and order"
        )
    return parts[1] if start == 2 else None, list(parts[start:])


def first_names(*, static: bool) -> list[str]:
    """Return the modules before the head, of a static encoder or a transformer."""
    return ["StaticEmbedding"] if static else ["Transformer", "Pooling"]


def chain_folders(names: Sequence[str]) -> list[str]:
    """Return the folder of each module of a chain within that of the model."""
    return ["", *(f"{index}_{name}" for index, name in enumerate(names) if index)]


def write_chain(folder: Path, names: Sequence[str]) -> None:
    """Write modules.json of modules that lie in `chain_folders`."""
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": _CLASSES[name]}
        for index, (name, path) in enumerate(zip(names, chain_folders(names), strict=True))
    ]
    write_json(folder / MODULES_FILE, modules)
