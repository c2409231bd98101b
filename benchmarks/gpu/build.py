"""The build of the library in its place, and its tests on the GPU."""

from __future__ import annotations

import importlib.util
import os
import re
import time
from collections.abc import Iterator
from typing import Any

from machine import ROOT

from gpu.processes import run
from gpu.settings import Settings, Task

PROCESSES = 8
KEPT_OUTPUT = 3000  # characters
BUILT = "import hybrid_fast._core as core; print(core.__file__)"
COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped)")


def build_tasks(settings: Settings) -> Iterator[Task]:
    """Give the build."""
    yield Task("core", build, limit_s=200)


def test_tasks(settings: Settings) -> Iterator[Task]:
    """Give the tests."""
    yield Task("pytest -m gpu", test, limit_s=200)


def build(settings: Settings, deadline: float) -> dict[str, Any]:
    """Install the library in its place, unless it is there and newer than its C++ sources."""
    found = command(["-c", BUILT], deadline)
    if found["returncode"] == 0 and is_newer(found["output"].split()[-1]):
        return {"found": "built already"}
    options = ["--no-build-isolation", "--no-deps", "--no-index", "-q"]
    done = command(["-m", "pip", "install", *options, "-e", "."], deadline)
    return done if done["returncode"] == 0 else done | {"failed": "the build"}


def is_newer(extension: str) -> bool:
    """Tell whether an extension is newer than all sources of C++."""
    sources = [*(ROOT / "csrc").glob("**/*.*"), ROOT / "CMakeLists.txt"]
    return os.path.getmtime(extension) >= max(map(os.path.getmtime, sources))


def test(settings: Settings, deadline: float) -> dict[str, Any]:
    """Run the tests that need a GPU; without one all are skipped."""
    files = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests").glob("**/test_*.py"))
        if "mark.gpu" in path.read_text(encoding="utf-8")
    ]
    # Other versions warn of other things.
    arguments = ["-m", "pytest", "-m", "gpu", "-q", "-o", "filterwarnings=default", "--tb=short"]
    if importlib.util.find_spec("xdist") is not None and not settings.tiny:
        arguments += ["-n", str(PROCESSES)]
    done = command([*arguments, *files], deadline)
    counts = {name: int(number) for number, name in COUNT.findall(done["output"])}
    done |= {"counts": counts, "files": files}
    if done["returncode"] != 0 or not (counts.get("passed") or settings.tiny):
        done["failed"] = "tests failed, or none ran"
    return done


def command(arguments: list[str], deadline: float) -> dict[str, Any]:
    """Run Python and return how it ended, after how long, and the end of what it said."""
    begin = time.monotonic()
    returncode, output = run(arguments, deadline - begin)
    seconds = time.monotonic() - begin
    return {"returncode": returncode, "seconds": seconds, "output": output[-KEPT_OUTPUT:]}
