"""Build, test and time the library on a machine with an NVIDIA GPU, without a network.

    python benchmarks/gpu_check.py [SECTION[=SECONDS] ...] [--limit SECONDS] [--out FILE]
        [--resume | --judge]

Needs torch with CUDA, triton, pytest, what builds the library (cmake, ninja, pybind11), and for
training transformers, sentence-transformers, datasets and babel. Sections, in the order given:

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
import json
import math
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from gpu import processes
from gpu.report import Report, head
from gpu.section import SECTIONS
from gpu.settings import NEW, Settings
from machine import ROOT, today

LIMIT_S = 550  # a start of Python before and the judgement after take some seconds more
LIMITS_S = {  # of sections, which end sooner where they can
    "build": 200,
    "tests": 150,
    "loss": 280,
    "small": 60,
    "training": 300,
    "parts": 40,
    "tiles": 80,
    "profile": 90,
}
GRACE_S = 10  # for a process to begin a case late and still end it


def main(arguments: list[str] | None = None) -> int:
    """Run the sections; return the exit status."""
    given = _parser().parse_args(arguments)
    if given.judge:
        return judge_file(given.out)
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
            end = min(time.monotonic() + limit_s, deadline)
            run_section(section, report, given, settings.folder, end, stamp)
        return conclude(report, settings)


def judge_file(path: Path) -> int:
    """Judge the JSON of a run, which may have been cut off; return the exit status."""
    try:
        report = Report(path)
    except (OSError, ValueError) as error:
        sys.exit(f"gpu_check: {error}")
    return conclude(report, Settings.of(path.parent, tiny=report.content["tiny"]))


def run_section(
    section: str, report: Report, given: argparse.Namespace, folder: Path, end: float, stamp: str
) -> None:
    """Run a section, in another process each time that one lost the device or was ended."""
    if time.monotonic() >= end:
        print(f"{section}: not begun, no time left", flush=True)
    arguments = [section, str(given.out.resolve()), stamp, str(folder), str(end)]
    while time.monotonic() < end:
        before = tried(report, section)
        returncode, said = processes.run(
            ["-m", "gpu.section", *arguments, *["tiny"] * given.tiny],
            end + GRACE_S - time.monotonic(),
            stdout=None,
        )
        report.read_again()
        if returncode == 0:
            return
        print(f"{section}: exit status {returncode}: {said[-2000:]}", flush=True)
        if tried(report, section) == before:  # a new process would end as this one
            report.add(section, "process", {"failed": said[-1000:], "run": stamp})
            return


def tried(report: Report, section: str) -> list[Any]:
    """Return what changes when a process gets anywhere."""
    cases = report.cases(section).items()
    return [(name, found.get("lost_by"), found.get("run")) for name, found in cases]


def conclude(report: Report, settings: Settings) -> int:
    """Judge what was found, write and print it; return the exit status."""
    sections = report.content["sections"]
    failed = {
        f"{section}: {name}": values["failed"]
        for section, cases in sections.items()
        for name, values in cases.items()
        if "failed" in values
    }
    if not any(name.startswith("build") for name in failed):
        judge(report, settings)
    for name, said in failed.items():
        print(f"FAILED {name}: {said}")
    return 1 if failed else 0


def judge(report: Report, settings: Settings) -> None:
    """Write and print the goals and the default backend."""
    from gpu.goals import default_backend, verdicts  # which need the library as it is built by now

    sections = report.content["sections"]
    found, default = verdicts(sections, settings), default_backend(sections)
    report.content |= {"verdicts": [each.values() for each in found], "default_backend": default}
    report.write()
    measured = [each for each in found if each.reached is not None]
    print("\n".join(map(str, measured)))
    print(f"goals of which nothing was measured: {len(found) - len(measured)}")
    print(f"{default['rule']}\n{json.dumps(default['by_kind'])}")
    print(f"the default should be {default['default']!r}", end="")
    print(f"; against {NEW!r}: {default['against']}, not measured: {default['not_measured']}")


def _section(text: str) -> tuple[str, float]:
    name, _, seconds = text.partition("=")
    if name not in SECTIONS:
        raise argparse.ArgumentTypeError(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    return name, _seconds(seconds) if seconds else LIMITS_S[name]


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", type=_section, help="NAME or NAME=SECONDS")
    parser.add_argument("--limit", type=_seconds, default=LIMIT_S, help="seconds, of all sections")
    results = ROOT / "benchmarks" / "results" / f"{today()}-gpu.json"
    parser.add_argument("--out", type=Path, default=results, help="the JSON")
    parser.add_argument("--resume", action="store_true", help="go on with the JSON that is there")
    parser.add_argument("--judge", action="store_true", help="judge that JSON, run nothing")
    parser.add_argument("--commit", default="", help="of the sources, where there is no git")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on a CPU: no figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
