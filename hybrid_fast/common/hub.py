"""Fetching from the Hugging Face hub, with an error that names what to give without network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hybrid_fast.common.paths import expanded

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_FILE = re.compile(r"\.(jsonl?|csv|tsv|txt|parquet|arrow|ya?ml|gz|bz2|xz|zst)$", re.IGNORECASE)


def is_hub_name(text: str) -> bool:
    """Tell whether a text can be the name of a repository of the hub: "name" or "owner/name".

    A name with the ending of a file of texts is a file's.
    """
    return _NAME.fullmatch(text) is not None and _FILE.search(text) is None


def local_folder(path_or_hub_name: str | Path) -> Path | None:
    """Return the folder of a model, None if it is not here but may be on the hub.

    Raises:
        FileNotFoundError: it is a file, or neither a folder nor a name of the hub.
    """
    folder = expanded(path_or_hub_name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise FileNotFoundError(f"{folder} is a file; give the folder of a saved encoder")
    if not is_hub_name(str(path_or_hub_name)):
        raise FileNotFoundError(f"there is no folder {folder}")
    return None


def fetch_folder(
    name: str,
    what: str,
    instead: str,
    *,
    repo_type: Literal["model", "dataset"],
    patterns: Sequence[str],
    leave_out: Sequence[str] = (),
    revision: str | None = None,
) -> Path:
    """Return the local folder of a repository of the hub, fetched unless it is in the hub's cache.

    Args:
        name: of the repository, "name" or "owner/name".
        what: what it is, for the message: "data set 'owner/name'".
        instead: what can be given without network, for the message: "a folder with ...".
        repo_type: "model" or "dataset".
        patterns: of the files to fetch.
        leave_out: of those files, the ones not to fetch.
        revision: branch, tag or commit; default the main branch.

    Raises:
        FileNotFoundError: there is no such repository, or the hub cannot be reached.
    """
    import huggingface_hub

    with fetching(what, instead):
        folder = huggingface_hub.snapshot_download(
            name,
            repo_type=repo_type,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=list(leave_out) or None,
        )
    return Path(folder)


@contextmanager
def fetching(what: str, instead: str) -> Iterator[None]:
    """Raise FileNotFoundError with a remedy for anything that fetching from the hub may raise.

    Args:
        what: what is fetched.
        instead: what can be given without network.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The hub's HTTP library has changed before: its own error is the parent of the hub's.
    of_connection: Any = HfHubHTTPError.__bases__
    try:
        yield
    except (HFValidationError, OSError, *of_connection) as error:
        lines = str(error).strip().splitlines() or [""]
        raise FileNotFoundError(
            f"{what} could not be fetched from the hub ({type(error).__name__}: {lines[0]}). "
            f"Without network give {instead}"
        ) from error
