"""Progress of training on a terminal."""

import io
import sys

from hybrid_fast.cli import main


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_bar(project, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    main("train recipe.yaml --out o --eval_strategy steps --eval_steps 6".split())
    bars = [part for part in screen.getvalue().split("\r") if "%|" in part]
    assert all(part.startswith("train:") for part in bars)
    assert "12/12" in bars[-1]
    assert "loss" in bars[-1]
    assert "step 6: mono map" in screen.getvalue()
    assert "step 6 of 12" not in screen.getvalue()
