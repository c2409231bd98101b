"""The table at the end of a run: ours, each baseline, their ratio, and what was aimed at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# Seconds of each part of a default run on two cores with nothing else running, set-ups included.
# A part takes as many rounds as fit; of what is run only once the size is chosen to fit.
BUDGETS_S = {
    "loss": 90,
    "plan": 55,
    "index": 25,
    "ranks": 30,
    "encoding": 40,
    "training": 200,
    "real encoder": 480,
    "engines": 330,
    "dropout": 50,
    "static encoder": 30,
    "token store": 20,
    "search": 15,
    "corpus": 0,  # with --full alone
    "optimiser": 10,
    "memory": 35,
}
TITLES = ("", "unit", "ours", "baseline", "", "ratio", "goal")
TO_THE_LEFT = {0, 1, 4, 6}


@dataclass(frozen=True)
class Headline:
    """One measurement of ours beside its baselines.

    Attributes:
        part: of the run, a key of `BUDGETS_S`.
        case: what was measured, at which size.
        unit: of ours and the baselines. More is better where it ends with "/s"; less than one "s"
            is shown in ms.
        ours: median.
        baselines: medians by name.
        goals: by name of a baseline, how many times better than it ours should be at least.
        bound: what ours itself should reach: at least if it is a rate, else at most.
        reduced: how the run was smaller than with `--full`, if it was.
    """

    part: str
    case: str
    unit: str
    ours: float
    baselines: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    bound: float | None = None
    reduced: str = ""

    @property
    def is_rate(self) -> bool:
        return self.unit.endswith("/s")

    def ratio(self, name: str) -> float:
        """How many times better ours is than a baseline."""
        ours, theirs = self.ours, self.baselines[name]
        return ours / theirs if self.is_rate else theirs / ours

    def rows(self) -> list[tuple[str, ...]]:
        """Return rows of the table: ours, with its bound, beside the baselines, one a row."""
        scale, unit = (1e3, "ms") if self.unit == "s" and self.ours < 1 else (1, self.unit)
        rows = [("", "", "", self._verdict_on_bound(scale))] if self.bound is not None else []
        for name, value in self.baselines.items():
            ratio, goal = self.ratio(name), ""
            if name in self.goals:
                goal = f">= {number(self.goals[name])}x {_verdict(ratio >= self.goals[name])}"
            rows.append((number(value * scale), name, f"{number(ratio)}x", goal))
        ours = (self.case, unit, number(self.ours * scale))
        firsts = [ours, *[("", "", "")] * (len(rows) - 1)]
        return [first + row for first, row in zip(firsts, rows or [("",) * 4], strict=True)]

    def _verdict_on_bound(self, scale: float) -> str:
        assert self.bound is not None
        kept = self.ours >= self.bound if self.is_rate else self.ours <= self.bound
        return f"{'>=' if self.is_rate else '<='} {number(self.bound * scale)} {_verdict(kept)}"


def _verdict(kept: bool) -> str:
    return "met" if kept else "missed"


def number(value: float) -> str:
    """Three significant digits, with an exponent only where it is tiny."""
    if abs(value) < 1e-2:
        return f"{value:.2g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def table(headlines: Iterable[Headline], took_s: Mapping[str, float]) -> list[str]:
    """Return the lines of the table, by parts in the order of `BUDGETS_S`.

    Args:
        headlines: of a run.
        took_s: seconds of each part.
    """
    headlines = list(headlines)
    rows: list[tuple[str, ...]] = [TITLES]
    for part, budget_s in BUDGETS_S.items():
        found = [headline for headline in headlines if headline.part == part]
        if found or part in took_s:
            rows.append((f"{part} ({took_s.get(part, 0):.0f} s of {budget_s})",))
        for headline in found:
            rows += [("  " + first, *others) for first, *others in headline.rows()]
    return _aligned(rows)


def notes(headlines: Iterable[Headline]) -> list[str]:
    """Return what ran smaller than with `--full`, each said once."""
    said = {f"  {found.part}: {found.reduced}": None for found in headlines if found.reduced}
    return ["Reduced (--full runs all sizes):", *said] if said else []


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Join cells into columns; values are set to the right, a row of one cell has no columns."""
    whole = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    lines = []
    for row in rows:
        if len(row) == 1:
            lines.append(row[0])
            continue
        cells = [
            cell.ljust(width) if index in TO_THE_LEFT else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
