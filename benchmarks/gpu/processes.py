"""Python in a process of its own, which ends with all that it began when its time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

from machine import ROOT


def run(
    arguments: list[str],
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    *,
    stdout: int | IO[str] | None = subprocess.PIPE,
) -> tuple[int | None, str]:
    """Run Python from the root of the checkout, whose benchmarks it finds.

    It finds the library there too if its core was built there, else the one that is installed.

    Args:
        arguments: of Python.
        timeout_s: after which it is ended.
        environment: variables beside those of this process.
        stdout: where its output goes, as of `subprocess.Popen`; by default into what is returned.

    Returns:
        Its exit status, None if it was ended, and what it said; of errors alone, if the output goes
        elsewhere.
    """
    is_built = any((ROOT / "hybrid_fast").glob("_core*.so"))
    paths = [str(ROOT) if is_built else "", str(ROOT / "benchmarks")]
    paths.append(os.environ.get("PYTHONPATH", ""))
    captured = stdout == subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-P", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | (environment or {}),
        stdout=stdout,
        stderr=subprocess.STDOUT if captured else subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    returncode, note = None, ""
    try:
        said = process.communicate(timeout=max(timeout_s, 1))
        returncode = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()
        note = f"\nstopped after {timeout_s:.0f} s"
    return returncode, (said[0] if captured else said[1]) + note
