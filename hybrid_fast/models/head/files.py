"""Files of one module of a head: configuration, weights, and the checks that they fit.

Everything is read as sentence-transformers writes it; see `hybrid_fast.models.head.modules`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from sys import modules as imported_modules
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from hybrid_fast.common.choices import nearest
from hybrid_fast.common.json_files import read_json
from hybrid_fast.models.folders.foreign import refuse_weights, untrainable

CONFIG_FILE = "config.json"
_WEIGHTS_FILE = "model.safetensors"
_EMBEDDING = "sentence_embedding"


def read_config(folder: Path, *sizes: str) -> dict[str, Any]:
    """Return the configuration of a module.

    Args:
        folder: of the module.
        *sizes: keys of whole numbers from 1 that it must have.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or a size is missing or no such number.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} holds no {CONFIG_FILE}, which modules.json says is there; copy the whole "
            "folder of the model"
        )
    config = read_json(folder / CONFIG_FILE, dict)
    for name in sizes:
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(
                f"{folder / CONFIG_FILE}: {name} is {value!r}; a whole number from 1 is needed"
            )
    return config


def check_names(folder: Path, config: dict[str, Any]) -> None:
    """Check that a module takes and returns embeddings of texts.

    Raises:
        UntrainableChainError: it takes or returns the states of tokens, or something else.
    """
    given = {name: config.get(name) for name in ("module_input_name", "module_output_name")}
    for name, value in given.items():
        if value not in (None, _EMBEDDING):
            what = f"{folder / CONFIG_FILE}: {name} is {value!r}; that is not {_EMBEDDING!r}"
            raise untrainable(folder.parent, what)


def check_dim(folder: Path, name: str, found: int, needed: int) -> None:
    """Check that a module takes what the one before it returns.

    Args:
        folder: of the module.
        name: of the size in its configuration.
        found: its value.
        needed: dimension of what the module is given.

    Raises:
        ValueError: they differ.
    """
    if found != needed:
        raise ValueError(
            f"{folder / CONFIG_FILE}: {name} is {found}, but the module before it gives {needed} "
            "dimensions; the folder is of another model, or the pooling is not the one it was "
            "trained with"
        )


def read_activation(folder: Path, config: dict[str, Any], trust_remote_code: bool) -> nn.Module:
    """Return the activation that a configuration names; without a name tanh.

    Args:
        folder: of the module.
        config: its configuration.
        trust_remote_code: whether classes of other packages than torch may be imported.

    Raises:
        ValueError: it is no class of modules that is made without arguments, or not trusted.
    """
    path = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if path is None:
        return nn.Identity()
    where = f"{folder / CONFIG_FILE}: activation_function is {path!r}"
    place, _, name = str(path).rpartition(".")
    if place in ("", "torch") or place.startswith("torch."):
        found = getattr(imported_modules.get(place), name, None)  # torch imports all of them
    elif trust_remote_code:
        try:
            found = getattr(importlib.import_module(place), name, None)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{where}, which cannot be imported ({error}); install it") from error
    else:
        raise ValueError(
            f"{where}, which is not of torch, so that it is not imported; give "
            "trust_remote_code=True if you trust it"
        )
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        classes = [c for c, kind in vars(nn).items() if isinstance(kind, type)]
        raise ValueError(
            f"{where}, which is no class of torch modules; one such as "
            f"torch.nn.modules.activation.Tanh is needed{nearest(name, classes)}"
        )
    try:
        return found()
    except TypeError as error:
        raise ValueError(f"{where}, which cannot be made without arguments: {error}") from error


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load weights, in the dtype that they are saved in.

    Raises:
        FileNotFoundError: there are none as safetensors.
        ValueError: the file is damaged, or its weights are not those that the configuration needs.
    """
    path = folder / _WEIGHTS_FILE
    if not path.is_file():
        refuse_weights(folder)
        raise FileNotFoundError(f"{folder} holds no {_WEIGHTS_FILE}; copy the whole folder")
    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    needed = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name in sorted(needed.keys() | found.keys()):
        given = tuple(found[name].shape) if name in found else None
        if given != needed.get(name):
            is_given = f"has shape {given}" if given else "is missing"
            is_needed = f"needs {needed[name]}" if name in needed else "has no place for it"
            raise ValueError(
                f"{path}: {name} {is_given}, and the {CONFIG_FILE} beside it {is_needed}; the two "
                "are not of one model"
            )
    module.load_state_dict(found, assign=True)


def save_weights(module: nn.Module, folder: Path) -> None:
    """Save weights under the names of the parameters."""
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    save_file(state, folder / _WEIGHTS_FILE, metadata={"format": "pt"})
