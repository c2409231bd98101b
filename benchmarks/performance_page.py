"""Make docs/performance.md from the JSON of runs in benchmarks/results/.

    python benchmarks/performance_page.py

Of each kind of processor the newest figures of each part are shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from headlines import BUDGETS_S, Headline
from machine import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
HEAD = """# Performance

What was measured, on which machine: ours beside each peer and, where there is one, the limit. `python
benchmarks/performance_page.py` makes this page from the JSON in [benchmarks/results](../benchmarks/results); a figure
that is not here was not measured. All ways of a case ran in turns in one process and gave the same results first;
figures are medians, "times" says how many times better ours is than what stands beside it, and a missed goal is shown
as such. [benchmarks/README.md](../benchmarks/README.md) says what each part measures.

```
make bench                                    # all parts but the real encoder, ten minutes on two idle cores
HYBRID_FAST_REAL_ENCODER=FOLDER make bench    # with a real encoder, such as multilingual-e5-small
pytest benchmarks/ --benchmark-only --full    # all sizes and settings, hours
python -c "from hybrid_fast.ops import cpu_report; print(cpu_report())"    # which libraries compute on this machine
```

"Limit" in the part "loss" is the time of its three matrix products alone, at the best rate that any library of torch
reaches on the machine in the same run. Freed memory is kept for the next allocation while the loss is timed (`mallopt`),
which helps the plain loss most: with glibc's defaults it spends half of its time on page faults.
"""
COLUMNS = "| case | unit | ours | beside | | times | goal |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Part:
    """What one run measured of one part."""

    processor: str
    name: str
    date: str
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
    machine, date = _processor(info["processor"]), run["datetime"][:10]
    commit = run["commit_info"]["id"][:10]
    return [
        Part(machine, name, date, commit, packages, path.name, headlines)
        for name, headlines in found.items()
    ]


def newest(parts: Iterable[Part]) -> list[Part]:
    """Return the last part of each name and processor, in the order of `BUDGETS_S`."""
    last = {(part.processor, part.name): part for part in sorted(parts, key=lambda p: p.date)}
    order = list(BUDGETS_S)
    return sorted(last.values(), key=lambda part: (part.processor, order.index(part.name)))


def page(parts: list[Part]) -> str:
    """Return the page."""
    lines, processor = [HEAD], ""
    for part in parts:
        if part.processor != processor:
            processor = part.processor
            lines.append(f"## {processor}\n")
        lines += [f"### {part.name[0].upper()}{part.name[1:]}\n", COLUMNS]
        lines += [_row(cells) for headline in part.headlines for cells in headline.rows()]
        lines.append(
            f"\n{part.date}, commit {part.commit}; {part.versions}; "
            f"[JSON](../benchmarks/results/{part.file}){_reduced(part.headlines)}.\n"
        )
    return "\n".join(lines)


def _headline(values: dict[str, Any]) -> Headline:
    return Headline(**{field.name: values[field.name] for field in fields(Headline)})


def _processor(info: dict[str, Any]) -> str:
    sets = ", ".join(info["instruction_sets"])
    return f"{info['name']}, family {info['family']}, model {info['model']} ({sets}), {info['cores']} cores"


def _row(cells: tuple[str, ...]) -> str:
    case, unit, ours, value, name, times, goal = cells
    return f"| {case.strip()} | {unit} | {ours} | {name} | {value} | {times} | {goal} |"


def _reduced(headlines: list[Headline]) -> str:
    said = dict.fromkeys(found.reduced for found in headlines if found.reduced)
    return "".join(f"; {text}" for text in said)


def main() -> None:
    """Write the page."""
    parts = [part for path in sorted(RESULTS.glob("*.json")) for part in parts_of(path)]
    PAGE.write_text(page(newest(parts)), encoding="utf-8")


if __name__ == "__main__":
    main()
