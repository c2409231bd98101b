"""A disk that is full, by what each library says of it; small files are enough (ulimit -f)."""

import os
import resource
import shutil
import signal
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from hybrid_fast.common.disk import writing
from hybrid_fast.common.files import complete_file, complete_folder, new_folder, staged_file

VALUES = np.arange(50_000.0)


@contextmanager
def small_files():
    """Let no file grow beyond 64 KiB."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


WRITERS = {
    "text": lambda path: path.write_text("x" * 100_000),
    "numpy": lambda path: VALUES.tofile(path),
    "torch": lambda path: torch.save(torch.from_numpy(VALUES), path),
    "parquet": lambda path: pq.write_table(pa.table({"x": np.sin(VALUES)}), path),
}


@pytest.mark.parametrize("library", WRITERS)
def test_whichever_library_writes(tmp_path, library):
    path = tmp_path / "file"
    message = rf"^{path} could not be written: .*; make room, or choose another folder$"
    with pytest.raises(OSError, match=message) as caught, writing(path), small_files():
        WRITERS[library](path)
    assert caught.value.__cause__ is not None


def test_safetensors_say_so_in_their_own_error(tmp_path):
    class Tensors(Exception):
        """As safetensors_rust.SafetensorError, which has no number."""

    with pytest.raises(OSError, match="the disk is full"), writing(tmp_path / "file"):
        raise Tensors("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("make", [complete_folder, new_folder])
def test_folders_name_themselves_and_leave_nothing(tmp_path, make):
    with (
        pytest.raises(OSError, match=f"^{tmp_path / 'out'} could not be written: "),
        small_files(),
        make(tmp_path / "out") as folder,
    ):
        torch.save(torch.from_numpy(VALUES), folder / "file")
    assert not list(tmp_path.iterdir())


def test_a_file_that_stood_there_stays(tmp_path):
    save_file({"x": torch.ones(3)}, tmp_path / "file")
    before = (tmp_path / "file").read_bytes()
    with pytest.raises(OSError, match="does not allow a file of this size"), small_files():
        with complete_file(tmp_path / "file") as file:
            file.write("x" * 100_000)
    assert (tmp_path / "file").read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_vanished(tmp_path):
    (tmp_path / "a").mkdir()
    message = f"a/file could not be written: the folder {tmp_path / 'a'} has vanished"
    with pytest.raises(OSError, match=message), staged_file(tmp_path / "a/file"):
        shutil.rmtree(tmp_path / "a")


def test_other_errors_pass(tmp_path):
    for error in (ValueError("no number"), FileNotFoundError("some.jsonl"), KeyError("x")):
        with pytest.raises(type(error)) as caught, writing(tmp_path / "file"):
            raise error
        assert caught.value is error
