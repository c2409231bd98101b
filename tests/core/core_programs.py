"""Programs that tests run in a process of their own, since limits and choices stay for its life."""

import os
import subprocess
import sys


def run_program(program: str, **environment: str) -> str:
    """Return what a Python program prints, which must end with status 0."""
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = {paths!r}\n{program}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-3000:]}"
    return done.stdout.strip()
