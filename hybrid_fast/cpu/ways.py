"""Which of several ways to compute the same is fastest here: measured once, kept, followed.

Ways round differently, so a choice decides on the last bits of a result. Each is therefore made
once in a process and kept in the user's cache for this processor and these versions; a run that
resumes, and all ranks of a run, follow choices that were made before: see `settle`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path

from hybrid_fast.common.cache import cache_folder
from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.files import complete_file
from hybrid_fast.common.json_files import read_json
from hybrid_fast.common.locks import sole_use
from hybrid_fast.cpu.machine import processor

logger = logging.getLogger(__name__)

VARIABLE = "HYBRID_FAST_WAYS"
# What there is to choose, and the ways of it.
WAYS = {
    "nt": ("torch", "onednn", "core"),  # products A B^T of float32 matrices
    "nn": ("torch", "onednn", "core"),  # A B
    "tn": ("torch", "onednn", "core"),  # A^T B
    "attention": ("torch", "core"),
    "gelu": ("torch", "core"),
}
_FEWEST_TURNS = 4
_MOST_SECONDS = 0.15
_AGREEING = 1.03
_MARGIN = 0.95  # of the usual way's time: noise alone does not make another one the fastest


@dataclass(frozen=True)
class Choice:
    """A way that was chosen."""

    way: str
    # "measured", "kept" from an earlier process, "preferred", "settled", "common", the variable
    source: str
    seconds: Mapping[str, float] = field(default_factory=dict)  # of each way, where measured


_chosen: dict[tuple[str, str], Choice] = {}
_common: ContextVar[Path | None] = ContextVar("common", default=None)
_settled: dict[str, str] = {}


def fastest(
    kind: str, case: str, setting: str, ways: Callable[[], Mapping[str, Callable[[], object]]]
) -> str:
    """Return the name of the fastest way.

    Args:
        kind: of `WAYS`.
        case: what else decides, such as a class of shapes; it stands in checkpoints.
        setting: versions of libraries and number of threads that a measurement holds for.
        ways: returns, by name, functions that compute once, and that make what they compute from
            when they are first called: only to measure. A way that is missing does not exist here.

    Raises:
        ValueError: HYBRID_FAST_WAYS names no way, or one that does not exist here.
    """
    choice = _chosen.get((kind, case))
    if choice is None:  # another thread may have been first
        choice = _chosen.setdefault((kind, case), _choose(kind, case, setting, ways))
    return choice.way


def preferred(kind: str, case: str, ways: Sequence[str]) -> str:
    """Return the way that is asked for or was settled, else the first: without a measurement.

    Args:
        kind: see `fastest`.
        case: likewise.
        ways: those that exist here.

    Raises:
        ValueError: as of `fastest`.
    """
    choice = _chosen.get((kind, case))
    if choice is None:
        choice = _told(kind, case, ways) or Choice(ways[0], "preferred")
        choice = _chosen.setdefault((kind, case), choice)
    return choice.way


def known(kind: str, case: str) -> str | None:
    """Return the way that was chosen before, if any."""
    choice = _chosen.get((kind, case))
    return None if choice is None else choice.way


def choices() -> dict[str, Choice]:
    """Return what was chosen in this process so far, by kind and case."""
    return {f"{kind} {case}": choice for (kind, case), choice in sorted(_chosen.items())}


def settle(ways: Mapping[str, str]) -> None:
    """Follow choices of another process from now on, where HYBRID_FAST_WAYS asks for no other.

    Args:
        ways: names of ways, by kind and case, as `choices` has them.
    """
    _settled.update(ways)
    for key, choice in list(_chosen.items()):
        if ways.get(" ".join(key), choice.way) != choice.way:
            _chosen.pop(key, None)


@contextmanager
def common_ways(path: Path) -> Iterator[None]:
    """Follow the choices that a file holds within, and add to it those that it lacks.

    For work that several processes share, or go on with, and whose bytes are to be equal: what is
    kept of a processor does not suffice, since nothing is measured for good on a busy machine. The
    first process that needs a way decides for all with its versions and number of threads. Choices
    that were made before are made anew within, and hold again afterwards.

    Args:
        path: of a JSON file, which need not exist, where all of them find it.
    """
    before = dict(_chosen)
    _chosen.clear()
    token = _common.set(path)
    try:
        yield
    finally:
        _common.reset(token)
        _chosen.clear()
        _chosen.update(before)


def _common_way(path: Path, setting: str, question: str) -> str | None:
    with suppress(FileNotFoundError):
        return read_json(path, dict).get(setting, {}).get(question)
    return None


def _keep_common(path: Path, setting: str, question: str, way: str) -> str:
    """Write a choice unless another process was first; return the choice that holds."""
    while True:
        with suppress(FileExistsError), sole_use(path):  # another process writes: a moment
            kept = read_json(path, dict) if path.exists() else {}
            held: str = kept.setdefault(setting, {}).setdefault(question, way)
            with complete_file(path) as file:
                json.dump(kept, file, indent=1)
            return held


def asked_otherwise(ways: Mapping[str, str]) -> dict[str, str]:
    """Return the ways that HYBRID_FAST_WAYS asks for in place of others, by kind and case.

    Args:
        ways: as of `settle`.

    Raises:
        ValueError: the variable names no way.
    """
    asked = _asked(os.environ.get(VARIABLE, ""))
    of_kind = {question: asked.get(question.partition(" ")[0]) for question in ways}
    return {name: way for name, way in of_kind.items() if way not in (None, ways[name])}


def check_variable() -> None:
    """Raise ValueError if HYBRID_FAST_WAYS names no way."""
    _asked(os.environ.get(VARIABLE, ""))


def _choose(
    kind: str, case: str, setting: str, ways: Callable[[], Mapping[str, Callable[[], object]]]
) -> Choice:
    available = ways()
    choice = _told(kind, case, list(available))
    if choice is not None:
        return choice
    path, question = _common.get(), f"{kind} {case}"
    if path is None:
        return compare(question, setting, available)
    way = _common_way(path, setting, question)
    if way is None:
        way = _keep_common(path, setting, question, compare(question, setting, available).way)
    # Of a processor of another kind, whose bytes are others in any case.
    return Choice(way, "common") if way in available else compare(question, setting, available)


def _told(kind: str, case: str, available: Sequence[str]) -> Choice | None:
    """Return the way that HYBRID_FAST_WAYS asks for, or that was settled, if any."""
    question = f"{kind} {case}"
    asked = _asked(os.environ.get(VARIABLE, "")).get(kind)
    if asked is not None:
        if asked not in available:
            names = ", ".join(map(repr, available))
            raise ValueError(
                f"the environment variable {VARIABLE} asks for {asked!r}, which does not exist "
                f"here for {kind!r}; there is {names}"
            )
        return Choice(asked, VARIABLE)
    settled = _settled.get(question)
    if settled is not None:
        if settled in available:
            return Choice(settled, "settled")
        logger.warning(
            "%r was computed by %r before, which does not exist here: results differ in their "
            "last bits.",
            question,
            settled,
        )
    return None


def compare(question: str, setting: str, available: Mapping[str, Callable[[], object]]) -> Choice:
    """Return the fastest way and the seconds of each, kept or measured.

    What is measured while the machine is busy with something else is not kept.

    Args:
        question: what is computed, in few words.
        setting: see `fastest`.
        available: functions that compute once, by name, that of the usual way first.
    """
    if len(available) == 1:
        return Choice(next(iter(available)), "measured")
    path = cache_file()
    kept = _settings_in(path).get(setting, {}).get(question)
    if kept is not None and kept.keys() == available.keys():
        return Choice(_least(kept), "kept", kept)
    seconds = _measure(available)
    least = {way: min(turns) for way, turns in seconds.items()}
    if not all(map(_agree, seconds.values())):  # a bad minute must not decide for ever
        return Choice(_least(least), "measured", least)
    return _keep(path, setting, question, least)


@cache
def _asked(text: str) -> dict[str, str]:
    """Return the way of each kind that HYBRID_FAST_WAYS names: "onednn" or "nn=torch, nt=onednn".

    A way alone is that of all kinds that have it and are not named, wherever it stands.
    """
    asked: dict[str, str] = {}
    parts = filter(None, map(str.strip, text.split(",")))
    for part in sorted(parts, key=lambda part: "=" in part):
        kind, equals, way = map(str.strip, part.partition("="))
        if equals:
            check_choice(f"a kind of {VARIABLE}", kind, WAYS)
            asked[kind] = check_choice(f"{kind} of {VARIABLE}", way, WAYS[kind])
        else:
            check_choice(f"a way of {VARIABLE}", part, dict.fromkeys(sum(WAYS.values(), ())))
            asked |= {kind: part for kind, known in WAYS.items() if part in known}
    return asked


def cache_file() -> Path:
    """Return where measurements of this processor are kept; it may not exist."""
    described = repr(processor()) + os.environ.get("HYBRID_FAST_CPU", "")
    digest = blake2b(described.encode(), digest_size=8).hexdigest()
    return cache_folder("processors") / f"{digest}.json"


def _settings_in(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    with suppress(
        OSError, ValueError, KeyError, AttributeError, TypeError
    ):  # then it is measured again
        return {
            setting: {
                question: {way: float(spent) for way, spent in seconds.items()}
                for question, seconds in questions.items()
            }
            for setting, questions in read_json(path, dict)["seconds"].items()
        }
    return {}


def _keep(path: Path, setting: str, question: str, seconds: dict[str, float]) -> Choice:
    """Write a measurement, unless another process was first: then its choice is taken."""
    try:
        with sole_use(path):
            settings = _settings_in(path)
            kept = settings.setdefault(setting, {}).setdefault(question, seconds)
            if kept is not seconds and kept.keys() == seconds.keys():
                return Choice(_least(kept), "kept", kept)
            settings[setting][question] = seconds
            with complete_file(path) as file:
                json.dump({"processor": processor(), "seconds": settings}, file, indent=1)
    except OSError as error:
        logger.debug("%s cannot be written; each process measures anew: %s", path, error)
    return Choice(_least(seconds), "measured", seconds)


def _measure(ways: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return the seconds of each way, in turns until another turn would not tell more.

    Two turns of a way that agree were not disturbed; on a busy machine it takes more of them.
    """
    for compute in ways.values():
        compute()  # the first call prepares
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    began = time.perf_counter()
    while True:
        for way, compute in ways.items():
            start = time.perf_counter()
            compute()
            seconds[way].append(time.perf_counter() - start)
        if all(map(_agree, seconds.values())) or time.perf_counter() - began > _MOST_SECONDS:
            return seconds


def _agree(turns: list[float]) -> bool:
    least = sorted(turns)[:2]
    return len(turns) >= _FEWEST_TURNS and least[1] < _AGREEING * least[0]


def _least(seconds: Mapping[str, float]) -> str:
    usual = next(iter(seconds))
    best = min(seconds, key=lambda way: seconds[way])
    return best if seconds[best] < _MARGIN * seconds[usual] else usual
