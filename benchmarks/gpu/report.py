"""The JSON of a GPU check: whole after every case, and gone on with by a later run."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import machine
from cuda_timing import NO_TIME, Device

KIND = "gpu_check"
SAME = ("kind", "tiny", "source", "device", "versions")  # what a run that goes on must share


def head(device: Device, commit: str, *, tiny: bool) -> dict[str, Any]:
    """Return what a run is measured on, of what, and when."""
    versions = machine.versions("triton", "accelerate", "datasets")
    versions.pop("hybrid_fast", None)  # not installed before the first run builds it; see "source"
    return {
        "kind": KIND,
        "tiny": tiny,
        "date": machine.today(),
        "commit": commit or machine.commit(),
        "source": digest(),
        "device": device.describe(),
        "versions": versions,
    }


def digest() -> str:
    """Return a hash of the library's sources, which tells apart what a commit does not name."""
    files = [
        path
        for folder, pattern in (("hybrid_fast", "**/*.py"), ("csrc", "**/*.*"))
        for path in sorted((machine.ROOT / folder).glob(pattern))
    ]
    total = hashlib.sha256()
    for path in files:
        total.update(path.relative_to(machine.ROOT).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:16]


class Report:
    """What was found so far, by sections and cases, in a file.

    Args:
        path: of the JSON.

    Attributes:
        content: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))

    @classmethod
    def begin(cls, path: Path, head: dict[str, Any], *, resume: bool) -> Report:
        """Return a new report, or the one that is there, to go on with.

        Raises:
            FileExistsError: there is one, and it is not to be gone on with.
            ValueError: the one there is of another machine, other versions or other sources.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, head | {"sections": {}})
            return cls(path)
        if not resume:
            raise FileExistsError(f"{path} exists; go on with it by --resume, or give another")
        report = cls(path)
        for name in SAME:
            found, given = report.content.get(name), head[name]
            if found != given:
                raise ValueError(f"{path} has {name} {found!r}, this run {given!r}; give another")
        return report

    def cases(self, section: str) -> dict[str, Any]:
        """Return the cases of a section by name, for writing too."""
        return self.content["sections"].setdefault(section, {})

    def add(self, section: str, case: str, values: dict[str, Any]) -> None:
        """Take in what a case gave, and write the file."""
        self.cases(section)[case] = values
        self.write()

    def write(self) -> None:
        """Write the file; whoever reads it meanwhile sees the old one or the new one, whole."""
        _write(self._path, self.content)

    def read_again(self) -> None:
        """Take in what another process has written."""
        self.content = json.loads(self._path.read_text(encoding="utf-8"))


def has_figures(values: dict[str, Any] | None) -> bool:
    """Tell whether a case was measured, be it without some of its ways."""
    return values is not None and not any(name in values for name in ("skipped", "failed"))


def is_complete(values: dict[str, Any] | None) -> bool:
    """Tell whether a case was measured, so that a run that goes on may pass it over."""
    return has_figures(values) and NO_TIME not in (values or {}).get("steps", {}).values()


def _write(path: Path, content: dict[str, Any]) -> None:
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)
