"""One section of the GPU check in a process of its own: its cases, one after another.

    python -m gpu.section NAME OUT STAMP FOLDER DEADLINE [tiny]

A kernel that faults takes the process's hold on the device with it, and one that hangs cannot be
interrupted. So what a case gave is written at once, a case that outlasts its limit ends the
process, and `gpu_check` starts another one for the cases that are left: a case in which one of our
ways lost the device is then measured without it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from cuda_timing import NO_TIME, DeviceLostError

from gpu.report import Report, is_complete
from gpu.settings import Settings, Task, Tasks

DEVICE_LOST = 3  # exit status
MOST_LOSSES = 2  # after as many a way is left out of what follows
LONG = ("output", "kernels", "rows", "profile", "files", "peak_mib", "rounds")
LONGEST_LINE = 900
# Where the tasks of a section stand. They are imported once the library is built.
SECTIONS = {
    "build": "gpu.build:build_tasks",
    "tests": "gpu.build:test_tasks",
    "loss": "gpu.loss:tasks",
    "small": "gpu.small:tasks",
    "parts": "gpu.parts:tasks",
    "tiles": "gpu.tiles:tasks",
    "profile": "gpu.profiles:tasks",
    "training": "gpu.training:tasks",
}


def tasks_of(section: str) -> Tasks:
    """Return the function that gives a section's tasks."""
    module, _, name = SECTIONS[section].partition(":")
    return getattr(import_module(module), name)


class Runner:
    """Runs the cases of a section that no earlier run has measured.

    Args:
        section: a key of SECTIONS.
        report: takes in each case at once.
        settings: of all cases.
        deadline: of `time.monotonic`.
        stamp: of this run of the check, by which a second process knows what the first one tried.
    """

    def __init__(
        self, section: str, report: Report, settings: Settings, deadline: float, stamp: str
    ) -> None:
        self._section = section
        self._report = report
        self._settings = settings
        self._deadline = deadline
        self._stamp = stamp

    def run(self) -> None:
        """Run them.

        Raises:
            DeviceLostError: a case left the device without an answer.
        """
        for task in tasks_of(self._section)(self._settings):
            known = self._known(task)
            tried = known.get("run") == self._stamp and not known.get("lost_by")
            if tried or is_complete(known or None):
                continue
            values = self._attempt(task)
            self._add(task, values)
            print(f"{self._section}: {task.name}: {line(values)}", flush=True)

    def _attempt(self, task: Task) -> dict[str, Any]:
        """Return what a case gave, or why it gave nothing."""
        begin = time.monotonic()
        if begin + task.needs_s > self._deadline:
            return dict(NO_TIME)
        without = {*self._known(task).get("lost_by", []), *self._lost_for_good()}
        settings = replace(self._settings, without=frozenset(without))
        settings.device.empty_cache()
        watch = threading.Timer(task.limit_s, self._end_process, [task])
        watch.daemon = True
        watch.start()
        try:
            values = task.run(settings, min(self._deadline, begin + task.limit_s))
        except DeviceLostError as error:
            self._add_lost(task, error.way, str(error))
            raise
        except Exception as error:  # the other cases are still to be run
            values = {"failed": f"{type(error).__name__}: {error}"[:1000]}
            if not settings.device.works():
                self._add_lost(task, None, values["failed"])
                raise DeviceLostError(task.name, str(error)) from error
        finally:
            watch.cancel()
        left_out = {"left_out": sorted(without)} if without else {}
        return values | left_out | {"seconds": round(time.monotonic() - begin, 1)}

    def _end_process(self, task: Task) -> None:
        """Say what hung, and end this process, which nothing else would."""
        way = self._settings.device.way
        said = f"{way or 'the case'} did not end within {task.limit_s:.0f} s"
        self._add_lost(task, way, said)
        print(f"{self._section}: {task.name}: {said}", flush=True)
        os._exit(DEVICE_LOST)

    def _add_lost(self, task: Task, way: str | None, said: str) -> None:
        """Take in that a case lost the device, and by which way: it is tried again without it."""
        lost = self._known(task).get("lost_by", [])
        again = {} if way is None or way in lost else {"lost_by": [*lost, way]}
        self._add(task, {"failed": said[:1000]} | again)

    def _lost_for_good(self) -> set[str]:
        """Return the ways that lost the device in several cases."""
        losses = Counter(
            way
            for values in self._report.cases(self._section).values()
            for way in values.get("lost_by", values.get("left_out", []))
        )
        return {way for way, times in losses.items() if times >= MOST_LOSSES}

    def _known(self, task: Task) -> dict[str, Any]:
        return self._report.cases(self._section).get(task.name, {})

    def _add(self, task: Task, values: dict[str, Any]) -> None:
        self._report.add(self._section, task.name, values | {"run": self._stamp})


def line(values: dict[str, Any]) -> str:
    """Return values as they are printed: three digits, without what is long."""
    return json.dumps(rounded(values))[:LONGEST_LINE]


def rounded(values: Any) -> Any:
    """Return values with three digits, and without long texts and lists of rows."""
    if isinstance(values, dict):
        return {name: rounded(value) for name, value in values.items() if name not in LONG}
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return float(f"{values:.3g}") if isinstance(values, float) else values


def main() -> int:
    """Run one section in this process."""
    section, out, stamp, folder, deadline, *tiny = sys.argv[1:]
    report = Report(Path(out))
    settings = Settings.of(Path(folder), tiny=bool(tiny))
    if section != "build":
        # Our extension is there by now.
        from hybrid_fast.cpu import processor

        report.content["processor"] = processor()
    try:
        Runner(section, report, settings, float(deadline), stamp).run()
    except DeviceLostError as error:
        print(error, flush=True)
        return DEVICE_LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
