"""What a benchmark says about the processor it ran on."""

from __future__ import annotations

import machine


def test_a_run_says_processor_threads_versions_and_commit():
    first, second, third = machine.describe()
    assert "family" in first
    assert "threads" in second
    assert f"torch {machine.versions()['torch']}" in second
    assert third.startswith("commit ")
