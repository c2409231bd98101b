"""Sole use of a folder: among processes, after a crash, and where there are no locks."""

import errno
import os
import subprocess
import sys

import filelock
import pytest

from hybrid_fast.common.locks import sole_use

HOLD = """
import sys, time
from hybrid_fast.common.locks import sole_use
with sole_use(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that works in the folder `out`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused_and_says_by_whom(tmp_path, holder):
    message = rf"out is in use by process {holder.pid} on .*; wait for its end, or choose another"
    for name in ("out", "link", "x/../out"):
        (tmp_path / "x").mkdir(exist_ok=True)
        if name == "link":
            (tmp_path / name).symlink_to("out")
        with pytest.raises(FileExistsError, match=message), sole_use(tmp_path / name):
            pass
    with sole_use(tmp_path / "other"):
        pass


def test_a_killed_process_leaves_nothing_locked(tmp_path, holder):
    holder.kill()
    holder.wait()
    with sole_use(tmp_path / "out"):
        assert str(os.getpid()) in (tmp_path / ".out.lock").read_text()


def test_a_folder_whose_parent_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "access", lambda place, mode: place != tmp_path)
    with sole_use(tmp_path / "out"):
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".out.lock"]
        with pytest.raises(FileExistsError, match="in use"), sole_use(tmp_path / "out"):
            pass
    assert not list((tmp_path / "out").iterdir())


def test_nothing_stays_behind(tmp_path):
    with sole_use(tmp_path / "a/b/out"):
        assert not (tmp_path / "a/b/out").exists()
    with pytest.raises(KeyError), sole_use(tmp_path / "out"):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def refuse(self, *arguments, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with sole_use(tmp_path / "out"):
        pass
    assert "on a file system without locks (No locks available)" in caplog.text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), sole_use(tmp_path / "file/out"):
        pass


@pytest.mark.parametrize("refused", ["mkdir", "lock"])
def test_a_folder_that_takes_no_files_is_named_and_not_the_file_of_the_lock(
    tmp_path, monkeypatch, refused
):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", ".out.lock")

    if refused == "mkdir":
        monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    else:
        monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    message = rf"^{tmp_path}/a cannot be written to \(Permission denied\); choose another folder$"
    with pytest.raises(PermissionError, match=message), sole_use(tmp_path / "a/out"):
        pass
    assert not list(tmp_path.iterdir())
