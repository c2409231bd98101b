"""Benchmarks: what a run takes part in, what its JSON keeps, and the table at its end."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import machine
import pytest
from headlines import Headline, notes, table
from training_corpus import LONGEST, save_encoder

from hybrid_fast.common.allocator import keep_freed_memory
from hybrid_fast.cpu import processor
from hybrid_fast.models import BiEncoder

HEADLINES = pytest.StashKey[list[tuple[str, Headline]]]()  # with the test they are from
STARTED = pytest.StashKey[float]()


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="benchmarks: all sizes and settings; takes hours"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.addinivalue_line("markers", "full: a benchmark that runs with --full alone")
    config.stash[HEADLINES], config.stash[STARTED] = [], time.monotonic()
    config.option.benchmark_quiet = True  # our table instead; --benchmark-verbose shows both


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--full"):
        left_out = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def kept_memory() -> None:
    """Freed memory is kept for the next allocation from here on, in this process.

    glibc gives large blocks back at once, and plain torch's loss, which makes many, then spends
    half of its time on page faults.
    """
    assert keep_freed_memory()


@pytest.fixture(scope="session")
def full(request) -> bool:
    """Whether all sizes and settings are to run."""
    return request.config.getoption("--full")


@pytest.fixture
def headline(request, benchmark):
    """A function that puts a `Headline` into the table and the JSON."""

    def add(*arguments, **options) -> None:
        found = Headline(*arguments, **options)
        request.config.stash[HEADLINES].append((request.node.nodeid, found))
        ratios = {name: found.ratio(name) for name in found.baselines}
        kept = benchmark.extra_info.setdefault("headlines", [])
        kept.append(asdict(found) | {"ratios": ratios})

    return add


@pytest.fixture(scope="session")
def encoder_folders(tmp_path_factory):
    """Encoders of 6 layers of 384 with the vocabulary of XLM-R, by their dropout: equal weights."""
    folders = {}
    for dropout in (0.0, 0.1):
        raw, folder = (tmp_path_factory.mktemp(name) for name in ("raw", "encoder"))
        save_encoder(raw, layers=6, width=384, vocab_size=250_002, dropout=dropout)
        encoder = BiEncoder.from_pretrained(raw, query_prompt="", passage_prompt="")
        encoder.backbone.max_lengths = {"query": LONGEST, "passage": LONGEST}
        encoder.save_pretrained(folder)
        folders[dropout] = str(folder)
    return folders


@pytest.fixture(scope="session")
def real_encoder() -> str:
    """The folder of a real encoder, which no package may hold."""
    folder = os.environ.get("HYBRID_FAST_REAL_ENCODER", "")
    if not Path(folder, "config.json").is_file():
        pytest.skip("HYBRID_FAST_REAL_ENCODER names no folder of a real encoder")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data next to the checkout."""
    folder = machine.ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}")
    return folder


def pytest_benchmark_update_machine_info(config, machine_info):
    for name in ("node", "release"):  # no names of machines
        machine_info.pop(name, None)
    machine_info["cpu"].pop("flags", None)
    machine_info["processor"] = processor()
    machine_info["versions"] = machine.versions()


def pytest_benchmark_update_json(config, benchmarks, output_json):
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)


def pytest_terminal_summary(terminalreporter, config):
    found = [headline for _, headline in config.stash[HEADLINES]]
    if not found:
        return
    took_s = seconds_by_part(config.stash[HEADLINES], terminalreporter.stats.values())
    minutes = (time.monotonic() - config.stash[STARTED]) / 60
    terminalreporter.section(f"benchmarks, {minutes:.1f} minutes")
    for line in [*machine.describe(), "", *table(found, took_s), "", *notes(found)]:
        terminalreporter.write_line(line)


def seconds_by_part(found, reports_by_outcome):
    """Add up what tests took, set-up included; one that gave no headline is of no part."""
    parts = {nodeid: headline.part for nodeid, headline in found}
    took_s = defaultdict(float)
    for report in chain.from_iterable(reports_by_outcome):
        if isinstance(report, pytest.TestReport) and report.nodeid in parts:
            took_s[parts[report.nodeid]] += report.duration
    return took_s
