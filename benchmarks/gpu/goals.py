"""What was aimed at on a GPU, whether a report reaches it, and which backend should be the default.

Goals of the loss are judged for each of our ways. Those of speed hold on an H100; on another card
they say how far it is from them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cuda_timing import NO_TIME

from gpu.loss import ACCURACY, plan
from gpu.settings import LANDED, NEW, Case, Settings
from gpu.small import plan as small_plan
from gpu.small import scaled
from gpu.training import OURS, THEIRS, Run
from gpu.training import plan as training_plan

SHARES = {  # of three products
    Case(2**14, 768, "mean"): 0.80,
    Case(2**16, 768, "mean"): 0.80,
    Case(2**14, 768, "symmetric"): 0.70,
    Case(2**16, 768, "symmetric"): 0.60,
    Case(2**16, 768, "none"): 0.60,
    Case(2**14, 384, "mean"): 0.65,
    Case(2**18, 768, "mean"): 0.75,
    Case(2**20, 768, "mean"): 0.75,
}
KINDS = ("mean", "symmetric", "none")
TIMES_COMPILED, FROM_SIZE = 1.15, 2**14
MOST_SCRATCH_MIB = 2.2 * 1024
GRADIENT_ERRORS = {0.05: 2e-4, 0.01: 1e-3}  # of float32 gradients, by temperature
GRAPH_MS = {Case(64, 768, "mean"): 0.05, Case(256, 768, "symmetric"): 0.1}
SHARE_OF_PRODUCTS, TIMES_THEIRS = 0.35, 6.0
LOSS_AGREEMENT = 5e-3  # relative, of first losses of our ways
CLEARLY_FASTER = 1.02  # times: less is noise

RULE = (
    f"The backend of a case is {NEW!r} where it was right in all cases, needs no more than "
    f"{MOST_SCRATCH_MIB:,.0f} MiB of scratch memory, and is more than {CLEARLY_FASTER} times as "
    f"fast as {LANDED!r}; else {LANDED!r}. Of a kind of loss it is {NEW!r} from the smallest size "
    f"from which on all measured cases say so. {NEW!r} should be the default if all three kinds "
    f"were measured and it is that of every case from {FROM_SIZE:,} rows on; below it computes as "
    f"{LANDED!r} does."
)


@dataclass(frozen=True)
class Verdict:
    """A goal and what was reached. `reached` is None where nothing was measured."""

    section: str
    case: str
    way: str
    what: str
    asked: float
    reached: float | None
    at_least: bool

    @property
    def result(self) -> str:
        """ "pass", "miss" or "not measured"; NaN is a miss."""
        if self.reached is None:
            return "not measured"
        kept = self.reached >= self.asked if self.at_least else self.reached <= self.asked
        return "pass" if kept else "miss"

    def __str__(self) -> str:
        sign, reached = "<>"[self.at_least] + "=", self.reached
        said = "-" if reached is None else f"{reached:.4g}"
        where = f"{self.section}: {self.case}, {self.way}"
        return f"{self.result:12s} {where}: {self.what} {said}, asked {sign} {self.asked:g}"

    def values(self) -> dict[str, Any]:
        """Return what the report keeps."""
        return asdict(self) | {"result": self.result}


def verdicts(sections: dict[str, Any], settings: Settings) -> list[Verdict]:
    """Judge all goals of the sections that a report has."""
    found: list[Verdict] = []
    if "loss" in sections:
        found += [*_of_loss(sections["loss"], settings), *_of_accuracy(sections["loss"])]
    if "small" in sections:
        found += _of_small(sections["small"], settings)
    if "training" in sections:
        found += _of_training(sections["training"])
    return found


def _of_loss(cases: dict[str, Any], settings: Settings) -> Iterator[Verdict]:
    for full in plan():
        name = str(settings.scaled(full))
        found = cases.get(name, {})
        for way in settings.ours:
            if full in SHARES:
                share = found.get("shares", {}).get(way)
                yield Verdict("loss", name, way, "share of the limit", SHARES[full], share, True)
            if full.size < FROM_SIZE:
                continue
            compiled = value_of(found, "compiled_bf16", "scratch_mib")
            most = MOST_SCRATCH_MIB if compiled is None else min(compiled, MOST_SCRATCH_MIB)
            scratch = value_of(found, way, "scratch_mib")
            yield Verdict("loss", name, way, "scratch MiB", most, scratch, False)
            if full.size <= 2**16:
                times = ratio(found, "compiled_bf16", way)
                yield Verdict("loss", name, way, "times compiled", TIMES_COMPILED, times, True)


def _of_accuracy(cases: dict[str, Any]) -> Iterator[Verdict]:
    rows = cases.get(ACCURACY, {}).get("rows", [])
    for kind in ("mean", "symmetric"):
        for temperature, asked in GRADIENT_ERRORS.items():
            of_both = [
                row["errors"].get(NEW, {})
                for row in rows
                if (row["kind"], row["temperature"], row["longest"]) == (kind, temperature, 1)
            ]
            errors = [found.get(name) for found in of_both for name in ("queries", "passages")]
            # NaN is no number that max would find.
            worst = None if not errors or None in errors else sorted(errors, key=_nan_last)[-1]
            case = f"accuracy, {kind}, temperature {temperature:g}"
            yield Verdict("loss", case, NEW, "gradient error", asked, worst, False)


def _nan_last(value: float) -> tuple[bool, float]:
    return value != value, value


def _of_small(cases: dict[str, Any], settings: Settings) -> Iterator[Verdict]:
    for full in small_plan():
        name = str(scaled(full, settings))
        found = cases.get(name, {})
        for way in settings.ours:
            times = ratio(found, "naive", way)
            yield Verdict("small", name, way, "times naive", 1.0, times, True)
            if full in GRAPH_MS:
                ms = value_of(found, f"{way}_graph", "median_ms")
                yield Verdict("small", name, f"{way}_graph", "ms", GRAPH_MS[full], ms, False)


def _of_training(cases: dict[str, Any]) -> Iterator[Verdict]:
    rate = cases.get("rate", {}).get("matmul_flop_per_s")
    for run in training_plan():
        if run.way not in ("default", "compiled"):
            continue
        found = cases.get(str(run), {})
        share = found["flop_per_s"] / rate if rate and "flop_per_s" in found else None
        yield Verdict(
            "training", str(run), run.way, "share of a product", SHARE_OF_PRODUCTS, share, True
        )
        theirs = cases.get(str(Run(THEIRS, run.batch, 1, run.dropout)), {})
        times = None
        if "median_s" in found and "median_s" in theirs:
            times = theirs["median_s"] / found["median_s"]
        yield Verdict("training", str(run), run.way, f"times {THEIRS}", TIMES_THEIRS, times, True)
    yield from _of_agreement(cases)


def _of_agreement(cases: dict[str, Any]) -> Iterator[Verdict]:
    """Judge whether our ways have the same first loss, without dropout."""
    for batch in dict.fromkeys(run.batch for run in training_plan()):
        losses = [cases.get(str(Run(way, batch, 1)), {}).get("losses", [])[:1] for way in OURS]
        firsts = [found[0] for found in losses if found]
        spread = None
        if len(firsts) > 1:
            middle = statistics.median(firsts)
            spread = max(abs(loss / middle - 1) for loss in firsts)
        case = f"{batch:,} pairs"
        yield Verdict(
            "training", case, "ours", "difference of first losses", LOSS_AGREEMENT, spread, False
        )


def default_backend(sections: dict[str, Any]) -> dict[str, Any]:
    """Return which backend should be the default, by RULE, for each case and kind of loss."""
    cases = {
        name: found
        for section in ("small", "loss")
        for name, found in sections.get(section, {}).items()
        if _tells(found)
    }
    every = [found for section in sections.values() for found in section.values()]
    faults = ("wrong", "left_out", "lost_by")
    ways = [way for found in every for fault in faults for way in found.get(fault, [])]
    never_wrong = not any(way.startswith(NEW) for way in ways)
    by_case = {name: _backend_of(found, never_wrong) for name, found in cases.items()}
    kinds: dict[str, Any] = {}
    for kind in KINDS:
        of_kind = {name: each["size"] for name, each in cases.items() if each["kind"] == kind}
        landed = [size for name, size in of_kind.items() if by_case[name] == LANDED]
        new = [size for size in of_kind.values() if size > max(landed, default=0)]
        kinds[kind] = {f"{NEW} from size": min(new, default=None), "measured": len(of_kind)}
    large = {name: each for name, each in cases.items() if each["size"] >= FROM_SIZE}
    against = [name for name in large if by_case[name] == LANDED]
    missing = [kind for kind in KINDS if kind not in {each["kind"] for each in large.values()}]
    return {
        "rule": RULE,
        "default": LANDED if against or missing else NEW,
        "against": against,
        "not_measured": missing,
        "by_case": by_case,
        "by_kind": kinds,
    }


def _tells(found: dict[str, Any]) -> bool:
    """Tell whether a case compares both ways: one that cannot run the new one speaks against it."""
    new = found.get("steps", {}).get(NEW)
    was_tried = new is not None and new != NO_TIME
    return was_tried and value_of(found, LANDED, "median_ms") is not None


def _backend_of(found: dict[str, Any], never_wrong: bool) -> str:
    scratch = value_of(found, NEW, "scratch_mib")
    fits = scratch is not None and scratch <= MOST_SCRATCH_MIB
    faster = (ratio(found, LANDED, NEW) or 0.0) > CLEARLY_FASTER
    return NEW if never_wrong and fits and faster else LANDED


def value_of(found: dict[str, Any], way: str, name: str) -> float | None:
    """Return a figure of one way of a case, None where it was not measured."""
    return found.get("steps", {}).get(way, {}).get(name)


def ratio(found: dict[str, Any], beside: str, way: str) -> float | None:
    """Return how many times as fast a way is as another, None where one was not measured."""
    theirs, ours = value_of(found, beside, "median_ms"), value_of(found, way, "median_ms")
    return None if theirs is None or ours is None else theirs / ours
