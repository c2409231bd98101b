"""Saving of an adapter, with the name of the model that it belongs to."""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hybrid_fast.models.adapters.adapters import (
    ADAPTER_WEIGHTS,
    MAGNITUDE,
    OF_PARAMETER,
    adapter_of,
    adapter_state,
    transformer_of,
)

logger = logging.getLogger(__name__)
# Beginnings that leave the weights below as they are.
_PLAIN_BEGINNINGS = (True, False, "gaussian", "orthogonal")


@dataclass(frozen=True)
class Base:
    """What an adapter belongs to.

    Attributes:
        name: a folder, absolute, or a name of the hub; None if it is not saved anywhere.
        revision: of the hub.
    """

    name: str | None
    revision: str | None = None


def save_adapter(model: nn.Module, folder: Path, base: Base) -> None:
    """Write the adapter of a model, as peft does, and nothing else of it.

    Args:
        model: a transformer with an adapter, or a PeftModel.
        folder: which exists.
        base: what to load it into.
    """
    found = adapter_of(model)
    assert found is not None
    config: Any = deepcopy(found[1])
    transformer = transformer_of(model)
    config.base_model_name_or_path, config.revision = base.name, base.revision
    config.inference_mode = True  # as peft saves it
    for option, value in vars(config).items():
        if isinstance(value, set):
            setattr(config, option, sorted(value))  # sets come in any order
    made_for = {
        "base_model_class": type(transformer).__name__,
        "parent_library": type(transformer).__module__,
    }
    config.save_pretrained(folder, auto_mapping_dict=None if config.task_type else made_for)
    state = {name: tensor.contiguous() for name, tensor in adapter_state(model).items()}
    magnitudes = {name: tensor for name, tensor in state.items() if name.endswith(MAGNITUDE)}
    state |= {name + OF_PARAMETER: tensor.clone() for name, tensor in magnitudes.items()}
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def find_base(model: nn.Module, hub_name: str = "", revision: str | None = None) -> Base:
    """Return what the adapter of a model belongs to; warn if that is not saved.

    Args:
        model: a transformer with an adapter, or a PeftModel.
        hub_name: that the transformer was loaded by; "" if it came from a folder.
        revision: of the hub.
    """
    found = adapter_of(model)
    assert found is not None
    config, transformer = found[1], transformer_of(model)
    source = str(getattr(transformer, "name_or_path", "") or "")
    named = config.base_model_name_or_path
    base = Base(named, config.revision) if named else Base(hub_name or source, revision)
    if not base.name or (source and not _is_saved(transformer, config, Path(source))):
        logger.warning(
            "The transformer below the adapter is not saved anywhere as it is, so that the folder "
            "of the adapter names no base; save it (without the adapter, or merged), and load both "
            "with BiEncoder.from_pretrained(base, adapter=folder)."
        )
        return Base(None)
    folder = Path(base.name)
    return Base(str(folder.absolute())) if folder.is_dir() else base


def _is_saved(transformer: Any, config: Any, folder: Path) -> bool:
    """Tell whether weights below an adapter are those of a folder, by the first that is found."""
    if getattr(config, "init_lora_weights", True) not in _PLAIN_BEGINNINGS:
        return True  # peft has changed them, and will do so again
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as saved:
            names = set(saved.keys())
            for name, weight in transformer.named_parameters():
                plain = name.replace(".base_layer.", ".")
                if plain != name and not weight.requires_grad and plain in names:
                    there = saved.get_tensor(plain)
                    return torch.equal(there.to(weight.dtype), weight.detach().cpu())
    return True
