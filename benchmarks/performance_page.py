"""Make the tables of docs/performance.md from the JSON of runs in benchmarks/results/.

    python benchmarks/performance_page.py

Of each kind of processor, and each card, the newest figures of each case are shown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import gpu_page
from headlines import BUDGETS_S, Headline
from machine import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
MARK = "<!-- Below this line: benchmarks/performance_page.py -->\n"
COLUMNS = "| case | unit | ours | beside | | times | goal |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Part:
    """What one run measured of one part."""

    processor: str
    name: str
    time: str  # in UTC
    commit: str
    versions: str
    file: str
    headlines: list[Headline]


def parts_of(path: Path) -> list[Part]:
    """Return the parts that the JSON of a run has headlines of."""
    run = json.loads(path.read_text(encoding="utf-8"))
    info = run.get("machine_info", {})
    found: dict[str, list[Headline]] = {}
    for benchmark in run.get("benchmarks", []):
        for values in benchmark["extra_info"].get("headlines", []):
            headline = _headline(values)
            found.setdefault(headline.part, []).append(headline)
    if not found:
        return []
    packages = ", ".join(f"{name} {version}" for name, version in info["versions"].items())
    machine, time = _processor(info["processor"]), run["datetime"]
    commit = run["commit_info"]["id"][:10]
    return [
        Part(machine, name, time, commit, packages, path.name, headlines)
        for name, headlines in found.items()
    ]


def newest(parts: Iterable[Part]) -> list[Part]:
    """Return parts with the cases that no later run has, in the order of `BUDGETS_S`."""
    shown, known = [], set[tuple[str, str, str]]()
    for part in sorted(parts, key=lambda part: part.time, reverse=True):
        cases = {found.case: (part.processor, part.name, found.case) for found in part.headlines}
        new = [found for found in part.headlines if cases[found.case] not in known]
        known.update(cases.values())
        if new:
            shown.append(replace(part, headlines=new))
    order = list(BUDGETS_S)
    return sorted(shown, key=lambda part: (part.processor, order.index(part.name)))


def tables(parts: list[Part]) -> str:
    """Return the page below its mark."""
    lines, processor = [""], ""
    for part in parts:
        if part.processor != processor:
            processor = part.processor
            lines.append(f"## {processor}\n")
        lines += [f"### {part.name[0].upper()}{part.name[1:]}\n", COLUMNS]
        lines += [_row(cells) for headline in part.headlines for cells in headline.rows()]
        lines.append(
            f"\n{part.time[:10]}, commit {part.commit}; {part.versions}; "
            f"[JSON](../benchmarks/results/{part.file}){_reduced(part.headlines)}.\n"
        )
    return "\n".join(lines)


def _headline(values: dict[str, Any]) -> Headline:
    return Headline(**{field.name: values[field.name] for field in fields(Headline)})


def _processor(info: dict[str, Any]) -> str:
    sets = ", ".join(info["instruction_sets"])
    kind = f"{info['name']}, family {info['family']}, model {info['model']}"
    return f"{kind} ({sets}), {info['cores']} cores"


def _row(cells: tuple[str, ...]) -> str:
    case, unit, ours, value, name, times, goal = cells
    return f"| {case.strip()} | {unit} | {ours} | {name} | {value} | {times} | {goal} |"


def _reduced(headlines: list[Headline]) -> str:
    said = dict.fromkeys(found.reduced for found in headlines if found.reduced)
    return "".join(f"; {text}" for text in said)


def page() -> str:
    """Return the page, its text above the mark as it is."""
    files = sorted(RESULTS.glob("*.json"))
    parts = [part for path in files for part in parts_of(path)]
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return text + MARK + tables(newest(parts)) + "\n" + gpu_page.page(gpu_page.reports(files))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
