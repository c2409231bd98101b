"""A GPU check of tiny sizes, in which a processor stands in for the GPU."""

from __future__ import annotations

import time

import pytest
import torch
from gpu.section import tasks_of
from gpu.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Tiny ones; what torch.compile is given runs as it is."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    return Settings.of(tmp_path / "scratch", tiny=True)


@pytest.fixture
def found(settings):
    """A function that runs tasks of a section, all unless named, and returns what they give."""

    def run(section, *names):
        tasks = [task for task in tasks_of(section)(settings) if not names or task.name in names]
        deadline = time.monotonic() + 60
        return {task.name: task.run(settings, deadline) for task in tasks}

    return run
