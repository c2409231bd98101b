"""Folders of adapters: where the adapter is, the model it belongs to, and its weights.

The folder of an adapter comes from peft alone, or has the files of sentence-transformers beside it,
which then say how texts are embedded. Otherwise the folder of the base says it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hybrid_fast.common.hub import is_hub_name, local_folder
from hybrid_fast.common.json_files import read_json
from hybrid_fast.common.paths import expanded
from hybrid_fast.models.adapters.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    MAGNITUDE,
    OF_PARAMETER,
    PREFIX,
    adapter_state,
    add_adapter,
    load_adapter_state,
)
from hybrid_fast.models.adapters.options import import_peft, kind_of, refuse_unsupported
from hybrid_fast.models.adapters.saving import Base
from hybrid_fast.models.folders.finding import find_folder

logger = logging.getLogger(__name__)
_MODULES = "modules.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")
# Folders that training writes beside a model.
_OF_TRAINING = ("checkpoint-", "model-")


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter that is saved, and what it belongs to.

    Attributes:
        folder: of adapter_config.json.
        base: as a saved adapter names it.
        base_folder: of the model that it is put into.
        settings: the folder that says how texts are embedded.
    """

    folder: Path
    base: Base
    base_folder: Path
    settings: Path

    @property
    def tokenizer(self) -> Path | None:
        """The folder of a tokenizer that was saved with the adapter, None if none was."""
        saved = any((self.folder / name).is_file() for name in _TOKENIZERS)
        return self.folder if saved else None


def find_adapter(
    path_or_hub_name: str | Path, revision: str | None, adapter: str | Path | None
) -> AdapterFolder | None:
    """Return the adapter that is asked for; None if a folder is that of a model without one.

    Args:
        path_or_hub_name: the folder or hub name of an adapter, or, beside `adapter`, of its base.
        revision: of that hub model.
        adapter: folder or hub name of an adapter.

    Raises:
        FileNotFoundError: no such folder or hub model, or the adapter's base is not there.
        ValueError: a folder holds no adapter, or several, or files that are not supported.
    """
    given = find_folder(path_or_hub_name, revision)
    if adapter is None:
        folder = _place(given)
        if folder is None:
            return None
        _refuse_whole_model(folder)
        root, (base, base_folder) = given, _find_base(folder)
    else:
        root = find_folder(adapter, None)
        folder = _place(root)
        if folder is None:
            raise ValueError(f"{root} holds no adapter: it has no {ADAPTER_CONFIG}")
        is_here = local_folder(path_or_hub_name) is not None
        base = Base(str(given.absolute()) if is_here else str(path_or_hub_name), revision)
        base_folder = given
    if _place(base_folder) is not None and base_folder != folder:
        raise ValueError(
            f"{base_folder}, the base of the adapter in {folder}, holds an adapter too; merge that "
            "one first: BiEncoder.from_pretrained(base), merge_adapter() and save_pretrained"
        )
    settings = root if (root / _MODULES).is_file() else base_folder
    return AdapterFolder(folder, base, base_folder, settings)


def _place(folder: Path) -> Path | None:
    """Return the folder of adapter_config.json within a model's, None if it has none.

    Raises:
        ValueError: there are several.
    """
    places = [path.parent for path in sorted(folder.glob(f"*/{ADAPTER_CONFIG}"))]
    places = [place for place in places if not place.name.startswith(_OF_TRAINING)]
    if (folder / ADAPTER_CONFIG).is_file():
        places.insert(0, folder)
    elif places and any(folder.glob("*.safetensors")):
        return None  # a model with folders of adapters beside it
    elif len(places) == 1 and (folder / _MODULES).is_file():
        return places[0]  # the folder of the transformer
    if len(places) > 1 or (places and places[0] != folder):
        names = ", ".join("." if place == folder else place.name for place in places)
        raise ValueError(
            f"{folder} holds {len(places)} adapter{'s' * (len(places) > 1)} in folders ({names}); "
            f"give the folder of one, such as {places[-1]}"
        )
    return places[0] if places else None


def _refuse_whole_model(folder: Path) -> None:
    """Raise ValueError if it is not plain what the adapter in a folder belongs to."""
    if any(folder.glob("model*.safetensors")):
        raise ValueError(
            f"{folder} holds both a model and an adapter; move {ADAPTER_CONFIG} and "
            f"{ADAPTER_WEIGHTS} to a folder of their own, and load both with "
            "BiEncoder.from_pretrained(base, adapter=folder)"
        )


def _find_base(folder: Path) -> tuple[Base, Path]:
    """Return the base that an adapter names, and its folder."""
    config = read_json(folder / ADAPTER_CONFIG, dict)
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    advice = "give it: BiEncoder.from_pretrained(base, adapter=folder)"
    if not name:
        raise ValueError(f"{folder / ADAPTER_CONFIG} names no base model; {advice}")
    places = [expanded(name)] if expanded(name).is_absolute() else [folder / name, expanded(name)]
    for place in places:
        if place.is_dir():
            return Base(str(place.resolve())), place.resolve()
    looked = " or ".join(str(place.absolute()) for place in places)
    missing = f"the base of the adapter in {folder} is not there: there is no folder {looked}"
    if not is_hub_name(name):
        raise FileNotFoundError(f"{missing}; {advice}")
    try:
        return Base(name, revision), find_folder(name, revision)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{missing}, and {error}; or {advice}") from error


def load_adapter(model: Any, saved: AdapterFolder) -> None:
    """Put a saved adapter into a transformer, in place; it can be trained further.

    Raises:
        FileNotFoundError: the adapter has no weights as safetensors.
        ImportError: peft is not installed.
        ValueError: the adapter is of a kind that is not supported, is damaged, or does not fit.
    """
    config = _read_config(saved.folder)
    state = read_adapter_state(saved.folder)
    made_for = config.base_model_name_or_path
    try:
        _check_family(config, model)
        add_adapter(model, config, strict=False)
        load_adapter_state(model, _fitting(state, model))
    except ValueError as error:
        raise ValueError(
            f"the adapter in {saved.folder} does not fit {saved.base_folder}: {error}; it was made "
            f"for {made_for or 'a model that it does not name'}"
        ) from error
    config.base_model_name_or_path, config.revision = saved.base.name, saved.base.revision


def _check_family(config: Any, model: Any) -> None:
    """Raise ValueError if the class that an adapter was made for is of another family.

    Sizes and names of layers may be the same nevertheless. Heads and parts of a model are of its
    family: gemma3 and gemma3_text.
    """
    name = (config.auto_mapping or {}).get("base_model_class")
    made_for = getattr(getattr(transformers, str(name), None), "config_class", None)
    kinds = getattr(made_for, "model_type", ""), model.config.model_type
    if made_for and not (kinds[0].startswith(kinds[1]) or kinds[1].startswith(kinds[0])):
        raise ValueError(f"it is for a {name}, and this is a {type(model).__name__}")


def _read_config(folder: Path) -> Any:
    path = folder / ADAPTER_CONFIG
    peft, kind = import_peft(), kind_of(read_json(path, dict).get("peft_type"))
    if kind not in peft.PEFT_TYPE_TO_CONFIG_MAPPING:
        raise ValueError(f"{path}: peft_type is {kind!r}, which this version of peft does not have")
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
        refuse_unsupported(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    config.inference_mode = False
    return config


def read_adapter_state(folder: Path) -> dict[str, Tensor]:
    """Return the weights of an adapter by their names in peft's files, see `adapter_state`.

    Raises:
        FileNotFoundError: there are none as safetensors.
        ValueError: they are damaged.
    """
    path = folder / ADAPTER_WEIGHTS
    if not path.is_file():
        pickled = "; adapter_model.bin is pickled and not read" * any(folder.glob("*.bin"))
        raise FileNotFoundError(f"{path} is missing{pickled}; save the adapter with peft again")
    try:
        state: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return {
        name.removesuffix(OF_PARAMETER) if name.endswith(MAGNITUDE + OF_PARAMETER) else name: value
        for name, value in state.items()
    }


def _fitting(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Return weights under the names of a model's adapter, without those of parts it lacks.

    An adapter may have been made for the transformer with a head, or with a decoder.

    Raises:
        ValueError: they do not fit.
    """
    expected, living = adapter_state(model), model.state_dict()
    parts = {name for name, _ in model.named_children()}
    beginning = f"{getattr(model, 'base_model_prefix', '')}."
    plain = {name.removeprefix(PREFIX): tensor for name, tensor in state.items()}
    if beginning != "." and beginning[:-1] not in parts:
        plain = {name.removeprefix(beginning): tensor for name, tensor in plain.items()}
    left_out = [name for name in plain if name.split(".")[0] not in parts]
    if left_out and len(left_out) < len(plain):
        logger.warning(
            "%d weights of the adapter are of parts that a %s does not have, and not used, such as "
            "%s.",
            len(left_out),
            type(model).__name__,
            left_out[0],
        )
    fitting = {PREFIX + name: tensor for name, tensor in plain.items() if name not in left_out}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    wanted |= {PREFIX + name: tuple(tensor.shape) for name, tensor in living.items()}
    for name in expected:
        if name not in fitting:
            raise ValueError(f"its weights lack {name}")
    for name, tensor in fitting.items():
        if name not in wanted:
            raise ValueError(f"it has {name}, and the model has no such place")
        if tuple(tensor.shape) != wanted[name]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, and the model needs {wanted[name]}"
            )
    return fitting
