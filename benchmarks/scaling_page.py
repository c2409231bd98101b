"""Make the tables of docs/scaling.md from the JSON of runs in benchmarks/results/.

    python benchmarks/scaling_page.py

Of each size the newest run is shown.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headlines import number
from machine import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "scaling.md"
MARKS = "<!-- From here on: benchmarks/scaling_page.py, {} -->\n", "<!-- Up to here. -->\n"
Report = dict[str, Any]


def reports(folder: Path, kind: str) -> list[Report]:
    """Return the newest report of each size and choice of stores, the largest first."""
    newest: dict[tuple[int, bool], Report] = {}
    for path in sorted(folder.glob(f"*-{kind}-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] == kind:
            newest[found["rows"], "milvus" in path.name] = found | {"file": path.name}
    return [newest[key] for key in sorted(newest, reverse=True)]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _cells(found: Report, *values: str) -> list[str]:
    """Return a title and the values of a result by their keys, or why there are none."""
    if "skipped" in found:
        return [found["title"], f"not measured: {found['skipped']}", *[""] * (len(values) - 1)]
    return [found["title"], *(number(found[each]) for each in values)]


def _with_effort(found: Report) -> Report:
    """Return a result of a store whose title tells what its searches were tuned to."""
    effort = re.search(r"(nprobe|ef_search) \d+", found.get("index", ""))
    return found | {"title": f"{found['title']}, {effort[0]}"} if effort else found


def stores(report: Report) -> list[str]:
    heads = ["store", "build, s", "MiB on disk", "recall@10", "queries/s: batch", "alone"]
    heads += ["batch, one language", "peak MiB: build", "search"]
    keys = ["build_s", "size_mib", "recall", "queries_s_batch", "queries_s_alone"]
    keys += ["queries_s_filtered", "build_peak_mib", "search_peak_mib"]
    return _table(heads, [_cells(_with_effort(found), *keys) for found in report["results"]])


def quantisation(report: Report) -> list[str]:
    heads = ["code", "bytes a vector", "recall@10", "rescored", "training, s", "queries/s"]
    keys = ["bytes_a_vector", "recall", "recall_rescored", "train_s", "queries_s"]
    return _table(heads, [_cells(found, *keys) for found in report["results"]])


def mining(report: Report) -> list[str]:
    heads = ["index", "queries", "minutes", "peak MiB", "before mining", "negatives"]
    keys = ["queries", "minutes", "peak_mib", "before_mib", "negatives"]
    return _table(heads, [_cells(found, *keys) for found in report["results"]])


TABLES: dict[str, Callable[[Report], list[str]]] = {
    "stores": stores,
    "quantisation": quantisation,
    "mining": mining,
}


def _source(report: Report) -> str:
    what = f"{report['rows']:,} vectors"
    if "real_rows" in report:
        copied = max(0, report["rows"] - report["real_rows"])
        what += f" of {report['dimension']} numbers"
        what += f", {copied:,} of them copies with noise" if copied else ", all real"
    if "queries" in report:
        what += f"; {report['queries']:,} real queries"
    if report.get("note"):
        what += f"; {report['note']}"
    packages = ", ".join(
        f"{name} {version}"
        for name, version in report["versions"].items()
        if name in ("hybrid_fast", "numpy", "faiss-cpu", "pymilvus", "milvus-lite")
    )
    return (
        f"{what}; {report['processor']['name']}, {report['threads']} threads, {report['date']}, "
        f"commit {report['commit'][:10]}; {packages}; "
        f"[JSON](../benchmarks/results/{report['file']})."
    )


def section(folder: Path, kind: str) -> str:
    """Return what stands between the marks of a kind."""
    found = reports(folder, kind)
    if not found:
        return "Not measured yet: there is no JSON of it in benchmarks/results.\n"
    parts = ["\n".join([*TABLES[kind](report), "", _source(report), ""]) for report in found]
    return "\n".join(parts)


def page(folder: Path = RESULTS) -> str:
    """Return the page with its tables made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for kind in TABLES:
        start, end = MARKS[0].format(kind), MARKS[1]
        before, _, after = text.partition(start)
        text = before + start + "\n" + section(folder, kind) + "\n" + end + after.partition(end)[2]
    return text


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
