"""Build, test and time the library on a machine with an NVIDIA GPU, without a network.

    python benchmarks/gpu_check.py [SECTION[=SECONDS] ...] [--limit SECONDS] [--out FILE] [--resume]

Needs torch with CUDA, triton, pytest, what builds the library (cmake, ninja, pybind11), and for
training transformers, sentence-transformers and datasets. Sections, in the order given:

    build      our C++ extension, in its place
    tests      pytest -m gpu
    loss       ours beside its limit, plain and compiled cross-entropy and the cached loss; accuracy
    small      batches whose time is Python's, eager and as CUDA graphs
    training   an XLM-R-base-shaped encoder beside sentence-transformers' cached loss
    parts      products in every form and our kernels, each alone
    tiles      of the one-pass kernel, with registers and spills
    profile    where the time of a step goes, by kernel

The JSON is whole after every case, the most important of which come first; what had no time says
so, and a later run with --resume measures it. At its end stand the goals, and which backend should
be the default. Exits with 1 if a test failed, a result was wrong or a case failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from gpu.report import Report, head
from gpu.section import SECTIONS
from gpu.settings import Settings
from machine import ROOT, today

LIMIT_S = 570
LIMITS_S = {  # of sections
    "build": 200,
    "tests": 150,
    "loss": 300,
    "small": 60,
    "training": 450,
    "parts": 40,
    "tiles": 80,
    "profile": 90,
}
GRACE_S = 10  # for a process to begin a case late and still end it


def main(arguments: list[str] | None = None) -> int:
    """Run the sections; return the exit status."""
    given = _parser().parse_args(arguments)
    if not given.tiny and not torch.cuda.is_available():
        sys.exit("gpu_check needs an NVIDIA GPU and torch with CUDA")
    deadline = time.monotonic() + given.limit
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings.of(Path(scratch), tiny=given.tiny)
        about = head(settings.device, given.commit, tiny=given.tiny)
        try:
            report = Report.begin(given.out, about, resume=given.resume)
        except (FileExistsError, ValueError) as error:
            sys.exit(f"gpu_check: {error}")
        stamp = str(time.time_ns())
        for section, limit_s in dict(given.sections or LIMITS_S).items():
            left_s = min(limit_s, deadline - time.monotonic())
            run_section(section, report, given, settings, left_s, stamp)
        return conclude(report, settings)


def run_section(
    section: str,
    report: Report,
    given: argparse.Namespace,
    settings: Settings,
    left_s: float,
    stamp: str,
) -> None:
    """Run a section, in another process each time that one lost the device or was ended."""
    end = time.monotonic() + left_s
    while (left_s := end - time.monotonic()) > 0:
        before = tried(report, section)
        said = start(section, given, settings, left_s, stamp)
        report.read_again()
        if said is None:
            return
        print(said, flush=True)
        if tried(report, section) == before:  # nothing began: a new process would end as this one
            report.add(section, "process", {"failed": said[-1000:], "run": stamp})
            return


def tried(report: Report, section: str) -> list[Any]:
    """Return what changes when a process gets anywhere."""
    return [
        (name, found.get("lost_by"), found.get("run"))
        for name, found in report.cases(section).items()
    ]


def start(
    section: str, given: argparse.Namespace, settings: Settings, left_s: float, stamp: str
) -> str | None:
    """Run a section's cases in a process; return what it said last unless all have been run."""
    arguments = [section, str(given.out), stamp, str(settings.folder), str(left_s)]
    paths = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "gpu.section", *arguments, *["tiny"] * given.tiny],
                stderr=errors,
                timeout=left_s + GRACE_S,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
            )
        except subprocess.TimeoutExpired:
            return f"{section}: stopped after {left_s + GRACE_S:.0f} s"
        errors.seek(0)
        return None if done.returncode == 0 else f"{section}: {errors.read()[-2000:]}"


def conclude(report: Report, settings: Settings) -> int:
    """Judge what was found, write and print it; return the exit status."""
    # The loss is imported once the library is built.
    from gpu.goals import default_backend, verdicts

    sections = report.content["sections"]
    found = verdicts(sections, settings)
    default = default_backend(sections)
    report.content |= {"verdicts": [each.values() for each in found], "default_backend": default}
    report.write()
    print("\n".join(map(str, found)))
    print(f"{default['rule']}\n{default['by_kind']}")
    failed = {
        f"{section}: {name}": values["failed"]
        for section, cases in sections.items()
        for name, values in cases.items()
        if "failed" in values
    }
    for name, said in failed.items():
        print(f"FAILED {name}: {said}")
    return 1 if failed else 0


def _section(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("=")
    if name not in SECTIONS:
        raise argparse.ArgumentTypeError(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    return name, float(seconds) if seconds else LIMITS_S[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", type=_section, help="NAME or NAME=SECONDS")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds, of all sections")
    results = ROOT / "benchmarks" / "results" / f"{today()}-gpu.json"
    parser.add_argument("--out", type=Path, default=results, help="the JSON")
    parser.add_argument("--resume", action="store_true", help="go on with the JSON that is there")
    parser.add_argument("--commit", default="", help="of the sources, where there is no git")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on a CPU: no figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
