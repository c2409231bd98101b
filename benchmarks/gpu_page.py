"""The part of docs/performance.md on GPUs, from the JSON of `gpu_check.py`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from gpu.report import KIND, has_figures
from headlines import number

NOT_MEASURED = (
    "Not measured: there is no JSON of `make gpu-check` in benchmarks/results. Nothing here says "
    "how fast anything is on a GPU."
)
MISSING = "-"
PEERS = {
    "naive": "naive",
    "compiled_bf16": "torch.compile, bf16 scores",
    "compiled_float32": "torch.compile, float32 scores",
    "cached_32": "cached loss, 32",
    "cached_256": "cached loss, 256",
}
Report = dict[str, Any]


def reports(paths: Iterable[Path]) -> list[Report]:
    """Return the reports of GPU checks among files of JSON, the newest first."""
    found = []
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("kind") == KIND and not content["tiny"]:
            found.append(content | {"file": path.name})
    return sorted(found, key=lambda report: (report["date"], report["file"]), reverse=True)


def page(found: list[Report]) -> str:
    """Return the part: of each card, what its newest report with a section says."""
    lines = ["## GPUs", ""]
    if not found:
        return "\n".join([*lines, NOT_MEASURED, ""])
    for card in dict.fromkeys(report["device"]["name"] for report in found):
        lines += [f"### {card}", ""]
        of_card = [report for report in found if report["device"]["name"] == card]
        for section, write in SECTIONS.items():
            report = next((each for each in of_card if _has(each, section)), None)
            if report is not None:
                lines += [*write(report), *_goals(report, section), "", _source(report), ""]
    return "\n".join(lines)


def _has(report: Report, section: str) -> bool:
    return any(map(has_figures, report["sections"].get(section, {}).values()))


def _source(report: Report) -> str:
    device = report["device"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    where = f"CUDA {device['cuda']}, driver {device['driver']}"
    return (
        f"{report['date']}, commit {report['commit'][:10] or 'unknown'}; {where}; {versions}; "
        f"[JSON](../benchmarks/results/{report['file']})."
    )


def _measured(report: Report, section: str) -> dict[str, Any]:
    cases = report["sections"].get(section, {})
    return {name: found for name, found in cases.items() if has_figures(found)}


def _ours(cases: dict[str, Any]) -> list[str]:
    """Return our ways among the steps of cases."""
    ways = dict.fromkeys(way for found in cases.values() for way in found["steps"])
    return [way for way in ways if way.startswith("triton")]


def _table(titles: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield _line(titles)
    yield _line(["---"] * len(titles))
    yield from map(_line, rows)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: float | None, text: str = "{}") -> str:
    if value is None:
        return MISSING
    return text.format(number(value) if math.isfinite(value) else str(value))


def _loss(report: Report) -> Iterator[str]:
    cases = {name: found for name, found in _measured(report, "loss").items() if "size" in found}
    ours = _ours(cases)
    yield "#### Loss"
    yield ""
    yield (
        "ms, forward and backward, bfloat16; in brackets the share of the limit, the time of three "
        "products at the rate of one."
    )
    yield ""
    rows = []
    for name, found in cases.items():
        row = [name, number(found["three_products_ms"])]
        for way in ours:
            share = _cell(found["shares"].get(way), " ({})")
            row.append(_median(found, way) + share.replace(MISSING, ""))
        rows.append(row + [_median(found, way) for way in PEERS])
    yield from _table(["case", "limit", *ours, *PEERS.values()], rows)
    yield ""
    yield "Memory beyond embeddings and gradients, MiB:"
    yield ""
    ways = [*ours, *PEERS]
    rows = [
        [name, *[_cell(found["steps"].get(way, {}).get("scratch_mib")) for way in ways]]
        for name, found in cases.items()
    ]
    yield from _table(["case", *ours, *PEERS.values()], rows)
    yield from _default(report)


def _default(report: Report) -> Iterator[str]:
    """Say which backend the figures speak for."""
    default = report.get("default_backend")
    if not default:
        return
    yield ""
    yield default["rule"]
    yield ""
    titles = ["loss", *next(iter(default["by_kind"].values()))]
    rows = [
        [kind, *[_cell(value) for value in found.values()]]
        for kind, found in default["by_kind"].items()
    ]
    yield from _table(titles, rows)


def _median(found: dict[str, Any], way: str) -> str:
    return _cell(found["steps"].get(way, {}).get("median_ms"))


def _accuracy(report: Report) -> Iterator[str]:
    rows = report["sections"]["loss"].get("accuracy", {}).get("rows", [])
    if not rows:
        return
    ways = list(dict.fromkeys(way for row in rows for way in row["errors"]))
    yield "#### Accuracy of the loss"
    yield ""
    yield (
        "Relative errors of loss / gradient of the queries against float64 on the same "
        "embeddings, which bfloat16 holds exactly; gradients are float32."
    )
    yield ""
    yield from _table(
        ["kind", "temperature", "loss", *ways],
        [
            [row["kind"], _temperature(row), f"{row['loss']:.2g}"]
            + [_errors(row["errors"].get(way, {})) for way in ways]
            for row in rows
        ],
    )


def _temperature(row: dict[str, Any]) -> str:
    lengths = "" if row["longest"] == 1 else f", lengths from 1 to {row['longest']:g}"
    return f"{row['temperature']:g}{lengths}"


def _errors(found: dict[str, float]) -> str:
    if "queries" not in found:
        return MISSING
    return f"{found['loss']:.1g} / {found['queries']:.1g}"


def _small(report: Report) -> Iterator[str]:
    cases = _measured(report, "small")
    ways = [*_ours(cases), "naive"]
    yield "#### Small batches"
    yield ""
    yield "ms, forward and backward; `by_hand` is `value_and_grad`, `graph` that in a CUDA graph."
    yield ""
    rows = [[name, *[_median(found, way) for way in ways]] for name, found in cases.items()]
    yield from _table(["case", *ways], rows)


def _training(report: Report) -> Iterator[str]:
    cases = _measured(report, "training")
    rate = cases.pop("rate", {}).get("matmul_flop_per_s")
    yield "#### Training"
    yield ""
    yield (
        "An encoder of the shape of XLM-R-base, bf16; TFLOP/s on real tokens, in brackets their "
        "share of the rate of a product. A step without the loading of its texts."
    )
    yield ""
    titles = ["run", "first step, s", "step, s", "tokens/s", "TFLOP/s", "peak GiB", "compiling, s"]
    rows = []
    for name, found in cases.items():
        tera, share = number(found["flop_per_s"] / 1e12), ""
        if rate:
            share = f" ({number(100 * found['flop_per_s'] / rate)} %)"
        figures = [found["first_s"], found["median_s"], found["tokens_per_s"]]
        row = [name, *map(number, figures), tera + share, number(found["peak_gib"])]
        rows.append([*row, _cell(found.get("compile_s") or None)])
    yield from _table(titles, rows)


def _goals(report: Report, section: str) -> Iterator[str]:
    """Give the goals of a section, those of which nothing was measured last."""
    found = [each for each in report.get("verdicts", []) if each["section"] == section]
    if not found:
        return
    yield ""
    rows = []
    for each in sorted(found, key=lambda each: each["reached"] is None):
        asked = f"{'>=' if each['at_least'] else '<='} {number(each['asked'])}"
        rows.append(
            [each["case"], each["way"], each["what"], asked, _cell(each["reached"]), each["result"]]
        )
    yield from _table(["goal of", "way", "what", "asked", "reached", ""], rows)


def _loss_and_accuracy(report: Report) -> Iterator[str]:
    yield from _loss(report)
    yield ""
    yield from _accuracy(report)


# What each section of a report becomes.
SECTIONS: dict[str, Callable[[Report], Iterator[str]]] = {
    "loss": _loss_and_accuracy,
    "small": _small,
    "training": _training,
}
