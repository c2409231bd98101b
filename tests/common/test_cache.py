"""The user's cache folder."""

from pathlib import Path

import pytest

from hybrid_fast.common.cache import cache_folder


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


def test_a_file_is_no_folder(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError, match=r"HYBRID_FAST_CACHE names .*file, a file"):
        cache_folder("tokens")
