"""Paths with ~ and $NAME."""

from pathlib import Path

import pytest

from hybrid_fast.common.paths import expanded


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b", "a/b"),
        ("~/a", "/home/me/a"),
        ("$DATA/a", "/data/a"),
        ("${DATA}s/{lang}.txt", "/datas/{lang}.txt"),
        (Path("~/$NAME"), "/home/me/x"),
        (".", "."),
    ],
)
def test_names_are_replaced(monkeypatch, path, expected):
    for name, value in {"HOME": "/home/me", "DATA": "/data", "NAME": "x"}.items():
        monkeypatch.setenv(name, value)
    assert expanded(path) == Path(expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the path is empty"),
        (" ", "the path is empty"),
        ("$NOT_SET_HERE/a", r"^\$NOT_SET_HERE/a: the variable \$NOT_SET_HERE is not set"),
        ("a/${NOT_SET_HERE}", r"the variable \$\{NOT_SET_HERE\} is not set"),
        ("~nobody-of-this-name/a", "there is no user '~nobody-of-this-name'"),
    ],
)
def test_what_cannot_be_replaced_is_said(path, message):
    with pytest.raises(ValueError, match=message):
        expanded(path)


def test_a_file_whose_name_has_a_dollar_stays(tmp_path):
    (tmp_path / "price$NOT_SET_HERE").touch()
    path = tmp_path / "price$NOT_SET_HERE"
    assert expanded(path) == path
