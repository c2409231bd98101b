"""Folders that appear completely or not at all, and folders of hub models."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.py", "*.jinja"]
_HUB_OTHER_FILES = ["onnx/*", "openvino/*"]


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside `folder`, whose content takes its place when all went well.

    Where `folder` has content, files of the same name are replaced, each at once, and others stay:
    a checkpoint holds more than the model.

    Raises:
        FileExistsError: `folder` is a file.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give a folder to save into")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            _replace_files(temporary, folder)
        else:
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_files(source: Path, target: Path) -> None:
    names = {path.relative_to(source) for path in source.rglob("*")}
    for name in sorted(names):
        path, destination = source / name, target / name
        if path.is_dir():
            destination.mkdir(exist_ok=True)
        else:
            path.replace(destination)
    # What is left of weights in another number of files would be read instead of the new ones.
    for path in target.glob("model*.safetensors*"):
        if path.relative_to(target) not in names:
            path.unlink()


def find_folder(path_or_hub_name: str | Path, revision: str | None) -> Path:
    """Return a local folder, fetched from the hub if it is not here.

    Raises:
        FileNotFoundError: it is neither here nor on the hub, or the hub cannot be reached.
    """
    folder = Path(path_or_hub_name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise FileNotFoundError(f"{folder} is a file; give the folder of a saved encoder")
    name = str(path_or_hub_name)
    if not _HUB_NAME.fullmatch(name):
        raise FileNotFoundError(f"there is no folder {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_OTHER_FILES
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"there is no folder {name}, and no such model came from the hub: {reason}"
        ) from error
