"""Folders of models: here, or fetched from the hub."""

from __future__ import annotations

from pathlib import Path

from hybrid_fast.common.hub import fetch_folder, local_folder

WEIGHT_FILES = ("model*.safetensors*",)
# Removed before a model is saved over another: left-over shards would be read instead of it, and
# an adapter would be put into it.
MODEL_FILES = (*WEIGHT_FILES, "config.json", "adapter_config.json", "adapter_model.*")

_HUB_FILES = (
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.spm",
    "*.py",
    "*.jinja",
    "README.md",
)
_HUB_OTHER_FILES = ("onnx/*", "openvino/*")


def find_folder(path_or_hub_name: str | Path, revision: str | None) -> Path:
    """Return a local folder, fetched from the hub if it is not here.

    Args:
        path_or_hub_name: a folder, or the name of a model on the hub.
        revision: of the hub model: branch, tag or commit; default the main branch.

    Raises:
        FileNotFoundError: it is neither here nor on the hub, or the hub cannot be reached.
    """
    folder = local_folder(path_or_hub_name)
    if folder is not None:
        return folder
    name = str(path_or_hub_name)
    return fetch_folder(
        name,
        f"there is no folder {name}, and the model {name!r}",
        "the folder of a saved model",
        repo_type="model",
        patterns=_HUB_FILES,
        leave_out=_HUB_OTHER_FILES,
        revision=revision,
    )
