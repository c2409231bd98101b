"""The folder of a FAISS store: what is in it, and what makes its commits whole.

FOLDER/store.json names the files that count and how much of each; it is written last, in one step.
They lie in FOLDER/build-NAME/: some grow, and each commit writes the others under new names. A
store that replaces another, or is rid of deleted rows, is a new build, and the old one is removed
once store.json names the new. So whatever dies and whenever, the folder is as at the last commit.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hybrid_fast.common.files import check_folder, complete_file
from hybrid_fast.common.json_files import read_json
from hybrid_fast.retrieval.stores.faiss.files import KeptFile, check_file
from hybrid_fast.retrieval.stores.faiss.kinds import IndexOptions
from hybrid_fast.retrieval.stores.store import UnfinishedStoreError
from hybrid_fast.retrieval.vector_info import VectorInfo

STORE = "store.json"
BUILDS = "build-"
_ANY_BUILD = BUILDS + 8 * "[0-9a-f]"  # as `new_build` names them, and few others do
VERSION = 1
# Up to this size all bytes are checked whenever a store is opened.
_VERIFIED_BYTES = 256 * 2**20
T = TypeVar("T")


@dataclass(frozen=True)
class Commit:
    """What a commit keeps of a store.

    Attributes:
        version: of the layout.
        info: whose vectors they are.
        dtype: "float32" or "float16".
        build: name of the folder of the files.
        number: of the commit within the build.
        languages: codes of languages, by the numbers that rows have.
        files: that count, by what they hold.
        options: what was asked of the index.
        index: how it is searched; {} for none.
    """

    info: VectorInfo
    dtype: str
    build: str
    options: IndexOptions
    number: int = 0
    languages: tuple[str, ...] = ()
    files: Mapping[str, KeptFile] = field(default_factory=dict)
    index: Mapping[str, Any] = field(default_factory=dict)
    version: int = VERSION

    def kept(self, what: str, name: str) -> KeptFile:
        """Return what is kept of a file; an empty file of that name if there is none yet."""
        return self.files.get(what, KeptFile(name))

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(each.size for each in self.files.values())


def new_build() -> str:
    """Return a name for the folder of a build."""
    return f"{BUILDS}{uuid.uuid4().hex[:8]}"


def read_commit(folder: Path, use: Callable[[Commit], T], verify: bool | None = None) -> T:
    """Return what a function makes of the last commit of a store, whose files it opens.

    Args:
        folder: of the store.
        use: called with the commit; anew if another process has meanwhile removed its files.
        verify: whether the checksums of all files are compared; default if they are small.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the store was never finished, or is damaged.
    """
    before = None
    while True:
        commit = _read_store(folder)
        try:
            _check_files(folder, commit, verify)
            return use(commit)
        except FileNotFoundError as error:
            if commit == before:  # nobody has committed since
                raise ValueError(
                    f"{folder} is damaged: {error.filename} is missing; index the corpus again "
                    "with --replace"
                ) from error
        before = commit


def write_commit(folder: Path, commit: Commit) -> None:
    """Make a commit the last one, and remove what it does not name.

    Raises:
        OSError: it cannot be written; the one before stays.
    """
    content = {**asdict(commit), "files": {k: v._asdict() for k, v in commit.files.items()}}
    with complete_file(folder / STORE) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    clean(folder, commit)


def clean(folder: Path, commit: Commit) -> None:
    """Remove files of a store that a commit does not name."""
    for build in folder.glob(_ANY_BUILD):
        if build.name != commit.build:
            shutil.rmtree(build, ignore_errors=True)
    named = {each.name for each in commit.files.values()}
    for path in (folder / commit.build).glob("*"):
        if path.name not in named:
            path.unlink(missing_ok=True)


def remove_build(folder: Path, commit: Commit) -> None:
    """Remove a build that was never committed, and its folder if nothing else is in it."""
    shutil.rmtree(folder / commit.build, ignore_errors=True)
    with suppress(OSError):  # not empty
        folder.rmdir()


def prepare(folder: Path, replace: bool) -> None:
    """Check that a store can be made in a folder, and remove what one that failed has left.

    Raises:
        FileExistsError: there is a store, and it is not to be replaced, or there are other files.
        NotADirectoryError: it is a file.
    """
    check_folder(folder)
    if (folder / STORE).exists():
        if not replace:
            raise FileExistsError(
                f"{folder} holds a store; add to it with --add, make it anew with --replace, or "
                "choose another folder"
            )
        with suppress(ValueError):  # a damaged store tells nothing, and goes at the first commit
            clean(folder, _read_store(folder))
        return
    others = _not_ours(folder)
    if others:
        raise FileExistsError(
            f"{folder} holds {others[0]!r} and is no store; choose another folder"
        )
    for build in folder.glob(_ANY_BUILD):
        shutil.rmtree(build)


def _not_ours(folder: Path) -> list[str]:
    """Return the names of what a store that was never committed does not have in its folder."""
    return sorted(path.name for path in {*folder.glob("*")} - {*folder.glob(_ANY_BUILD)})


def _read_store(folder: Path) -> Commit:
    path = folder / STORE
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no store at {folder}; hybrid-fast index makes one")
    if not path.is_file():
        others = _not_ours(folder)
        if others:
            raise ValueError(
                f"{folder} has no {STORE} and holds {others[0]!r}: it is no store; choose another "
                "folder"
            )
        raise UnfinishedStoreError(
            f"{folder} has no {STORE}: its store was never finished; index the corpus again"
        )
    try:
        values = read_json(path, dict)
        if values["version"] != VERSION:
            raise ValueError(f"{path} has layout {values['version']}, not {VERSION}")
        values["info"] = VectorInfo.from_dict(values["info"])
        values["files"] = {name: KeptFile(**each) for name, each in values["files"].items()}
        values["options"] = IndexOptions(**values["options"])
        values["languages"] = tuple(values["languages"])
        return Commit(**values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); index the corpus again with --replace"
        ) from error


def _check_files(folder: Path, commit: Commit, verify: bool | None) -> None:
    if verify is None:
        verify = commit.size() <= _VERIFIED_BYTES
    for kept in commit.files.values():
        check_file(folder / commit.build, kept, verify)
