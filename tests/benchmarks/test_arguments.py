"""Scripts that are given wrong arguments say so, and run nothing."""

from __future__ import annotations

from importlib import import_module

import pytest

SCRIPTS = ("gpu_check", "host_time", "loss_accuracy", "loss_precision", "profile_step")


def said(script, arguments, monkeypatch, capsys):
    """Return what a script says of its arguments before it ends."""
    module = import_module(script)
    monkeypatch.setattr("sys.argv", [f"{script}.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option(script, monkeypatch, capsys):
    assert f"usage: {script}.py" in said(script, ["--no-such"], monkeypatch, capsys)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["loss=nan"], "'nan' is no number of seconds"),
        (["--limit", "-1"], "'-1' is no number of seconds"),
        (["lose"], "no section 'lose'; there are build, tests, loss"),
    ],
)
def test_sections_and_seconds_of_the_gpu_check(arguments, text, monkeypatch, capsys):
    assert text in said("gpu_check", arguments, monkeypatch, capsys)


def test_a_profile_needs_an_encoder(monkeypatch, capsys):
    monkeypatch.delenv("HYBRID_FAST_REAL_ENCODER", raising=False)
    assert "HYBRID_FAST_REAL_ENCODER must name" in said("profile_step", [], monkeypatch, capsys)
