"""The user's cache folder."""

import os
from pathlib import Path

import pytest

from hybrid_fast.common import cache
from hybrid_fast.common.cache import cache_entry, cache_folder


def test_the_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_CACHE", "/somewhere")
    assert cache_folder("tokens") == Path("/somewhere/tokens")
    monkeypatch.delenv("HYBRID_FAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert cache_folder("tokens") == Path("/cache/hybrid_fast/tokens")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/user")
    assert cache_folder("tokens") == Path("/home/user/.cache/hybrid_fast/tokens")


def test_an_empty_variable_counts_for_nothing(monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/user")
    assert cache_folder("tokens") == Path("/home/user/.cache/hybrid_fast/tokens")


def test_home_is_written_out_and_relative_paths_are_the_current_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("HYBRID_FAST_CACHE", "~/kept")
    assert cache_folder("tokens") == Path("/home/user/kept/tokens")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYBRID_FAST_CACHE", "kept")
    assert cache_folder("tokens") == tmp_path / "kept" / "tokens"
    monkeypatch.delenv("HYBRID_FAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder("tokens") == Path("/home/user/.cache/hybrid_fast/tokens")


def test_a_user_without_a_home_has_a_folder_for_temporary_files(monkeypatch, tmp_path):
    """As in containers that run under a number no system file names."""
    monkeypatch.delenv("HYBRID_FAST_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder("tokens") == tmp_path / f"hybrid_fast-{os.getuid()}" / "tokens"


def test_a_file_is_no_folder(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError, match=r"HYBRID_FAST_CACHE names .*file, a file"):
        cache_folder("tokens")


@pytest.fixture
def unwritable(tmp_path, monkeypatch):
    """A cache folder below a file, which no user can write to, and a folder for temporary files."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / "file/cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_cache_that_cannot_be_written_is_replaced_and_said(unwritable, caplog):
    entry = cache_entry("tokens", "name")
    assert entry.parents[2] == unwritable
    assert entry.parts[-2:] == ("tokens", "name")
    assert "Set HYBRID_FAST_CACHE to a folder that can be written" in caplog.text
    assert entry.parents[1].stat().st_mode & 0o777 == 0o700
    assert cache_entry("tokens", "name") == entry


def test_a_home_that_cannot_be_looked_into(tmp_path, monkeypatch, caplog):
    def denied(path, *arguments, **options):
        if str(path).startswith(str(tmp_path / "home")):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    real = os.stat
    monkeypatch.setattr(os, "stat", denied)
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / "home/cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cache_entry("tokens", "name").parents[2] == tmp_path
    assert "cannot be written" in caplog.text


def test_what_the_cache_has_is_read_from_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path))
    (tmp_path / "tokens/name").mkdir(parents=True)
    monkeypatch.setattr(cache, "_is_writable", lambda folder: False)
    assert cache_entry("tokens", "name") == tmp_path / "tokens/name"
    assert not caplog.text


def test_a_temporary_folder_of_another_user_is_not_trusted(unwritable, monkeypatch):
    monkeypatch.setattr("os.getuid", lambda: 4711)
    with pytest.raises(PermissionError, match="belongs to another user; set HYBRID_FAST_CACHE"):
        cache_entry("tokens", "name")
