"""Peak of resident memory (Linux) over a block of code, and scripts in processes of their own."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PAGE_BYTES = 4096


class PeakMemory:
    """What a block of code adds at its highest, read every 2 ms: `extra_bytes`, `extra_mib`."""

    def __enter__(self):
        # What earlier code has freed must not be handed out again unseen.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        self._before = self._highest = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._done.wait(0.002):
            self._highest = max(self._highest, resident_bytes())

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()
        self._highest = max(self._highest, resident_bytes())
        self.extra_bytes = self._highest - self._before
        self.extra_mib = round(self.extra_bytes / 2**20, 1)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def highest_resident_mib() -> float:
    """Return the peak of resident memory of this process since it began, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (highest,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(highest) / 1024


def run_fresh(script: str, **variables: object) -> Any:
    """Run a script in a fresh process that finds what this one does.

    Args:
        script: prints JSON in its last line.
        **variables: of the script, by value.

    Returns:
        What it printed last.
    """
    lines = [f"{name} = {value!r}" for name, value in variables.items()]
    whole = "\n".join(["import json, sys", f"sys.path[:0] = {sys.path!r}", *lines, script])
    command = [sys.executable, "-P", "-c", whole]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
