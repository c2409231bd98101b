"""The user's cache folder."""

from pathlib import Path

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
