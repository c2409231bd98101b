"""Files and folders that appear complete or not at all, even if two processes write at once.

Everything is written aside, under a name that no other writer has, flushed to the disk and renamed.
What is new gets its permissions from the umask, as if it had been written in place. A write that
fails leaves nothing behind, and what stood there before stays as it was.
"""

from __future__ import annotations

import bz2
import fcntl
import gzip
import io
import lzma
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, cast

from hybrid_fast.common.disk import writing
from hybrid_fast.common.paths import expanded


@contextmanager
def complete_file(path: str | Path, mode: Literal["text", "binary"] = "text") -> Iterator[IO[Any]]:
    """Open a file for writing; it takes the place of `path` at the end.

    Text is written as UTF-8, with its line ends as they are. If the name ends in ".gz", ".bz2",
    ".xz" or ".zst" the file is compressed; equal content gives equal bytes. Missing parent folders
    are made.

    Raises:
        OSError: the file cannot be written.
    """
    path = expanded(path)
    with _parents_of(path), staged_file(path) as staged, ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(staged.open("wb"))
        packed = _compressor(path.suffix.lower(), file)
        if packed is not None:
            file = stack.enter_context(packed)
        if mode == "binary":
            yield file
        else:
            yield stack.enter_context(io.TextIOWrapper(file, encoding="utf-8", newline="\n"))


def _compressor(suffix: str, file: IO[bytes]) -> IO[bytes] | None:
    """Return a file that compresses into another as a suffix says; None if it says nothing."""
    if suffix == ".gz":
        # Neither the time nor the staging name goes into the header.
        return cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0))
    if suffix == ".bz2":
        return cast(IO[bytes], bz2.BZ2File(file, "wb"))
    if suffix == ".xz":
        return cast(IO[bytes], lzma.LZMAFile(file, "wb"))
    if suffix == ".zst":
        import pyarrow as pa  # Python has no zstd before 3.14

        packed = pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd")
        return cast(IO[bytes], io.BufferedWriter(packed))
    return None


@contextmanager
def staged_file(path: str | Path) -> Iterator[Path]:
    """Yield the path of an empty file to write, which takes the place of `path` at the end.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
        OSError: the file cannot be written.
    """
    path = expanded(path)
    staged = _staging_name(path, path.parent)
    os.close(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        with writing(path):
            permissions = staged.stat().st_mode
            yield staged
            staged.chmod(permissions)  # whoever wrote it may have made another file of that name
            _flush(staged)
            staged.replace(path)
            _flush(path.parent)
    finally:
        staged.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes `folder` at the end. Missing parents are made.

    Raises:
        FileExistsError: `folder` exists, or another process made it in the meantime.
        OSError: it cannot be written.
    """
    folder = expanded(folder).absolute()
    if folder.exists():
        raise FileExistsError(f"{folder} exists; remove it or choose another folder")
    with _parents_of(folder), _staged_folder(folder, folder.parent) as staged, writing(folder):
        yield staged
        _finish(staged)
        if not _renamed(staged, folder):
            raise FileExistsError(f"{folder} was made by another process in the meantime")


@contextmanager
def complete_folder(
    folder: str | Path, *, stale: Sequence[str] = (), order: Sequence[str] = ()
) -> Iterator[Path]:
    """Yield an empty folder to fill, whose files move to `folder` at the end.

    If `folder` does not exist, it appears with all its files in one step; missing parents are made.
    Otherwise files of the same name are replaced one by one, and others stay; if two processes
    write, one moves all its files before the other begins.

    Args:
        folder: where the files belong.
        stale: patterns of old files in `folder` that must not stay beside the new ones. Those that
            no new file replaces at once, or whose new file moves last, are removed before any
            moves.
        order: names of files that move last, in this order.

    Raises:
        NotADirectoryError: `folder` is a file.
        OSError: the files cannot be written.
    """
    folder = expanded(folder).absolute()
    check_folder(folder)
    place = folder if folder.exists() else folder.parent
    with _parents_of(folder), _staged_folder(folder, place) as staged, writing(folder):
        yield staged
        _finish(staged)
        if not _renamed(staged, folder):
            _move_files(staged, folder, stale, order)


def check_writable(folder: Path) -> None:
    """Check that files can be written to a folder, which may not exist yet.

    Raises:
        NotADirectoryError: it, or one of its parents, is a file.
        PermissionError: it, or the parent it would be created in, is not writable.
    """
    place = folder.resolve()
    place = next(path for path in (place, *place.parents) if path.exists())
    if not place.is_dir():
        raise NotADirectoryError(f"{place} is a file; choose another folder")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"{place} is not writable; choose another folder")


def check_folder(folder: Path) -> None:
    """Raise NotADirectoryError if there is a file where a folder should be."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder to write to")


def _staging_name(path: Path, place: Path) -> Path:
    return place / f".{path.name[:40]}.{uuid.uuid4().hex}.partial"


@contextmanager
def _staged_folder(folder: Path, place: Path) -> Iterator[Path]:
    """Make an empty folder in `place`; what is left of it is removed at the end."""
    staged = _staging_name(folder, place)
    staged.mkdir()
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """Make the parents of a path; new ones that are empty at the end are removed again."""
    new = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty
            for parent in new:
                parent.rmdir()


def _renamed(staged: Path, folder: Path) -> bool:
    """Rename a folder unless there is one of the new name; tell whether it was renamed."""
    if folder.exists():
        return False
    try:
        staged.rename(folder)
    except OSError:
        if folder.exists():  # another process was first
            return False
        raise
    _flush(folder.parent)
    return True


def _move_files(staged: Path, folder: Path, stale: Sequence[str], order: Sequence[str]) -> None:
    files = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
    last = [Path(name) for name in order if Path(name) in files]
    soon = [name for name in files if name not in last]
    with _locked(folder):
        for pattern in stale:
            for path in folder.glob(pattern):
                if path.relative_to(folder) not in soon:
                    path.unlink()
        for name in [*soon, *last]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).replace(folder / name)
        _flush(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems do not lock folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _finish(folder: Path) -> None:
    """Have a folder with all its files written to the disk, readable as far as the umask allows."""
    # Libraries that write aside themselves (safetensors) leave files that the user alone can read.
    # The folder was made with all permissions but those that the umask takes.
    allowed = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode | allowed)
        _flush(path)
    _flush(folder)
