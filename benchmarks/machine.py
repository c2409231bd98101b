"""What a run was measured on and with: processor and its kind, threads, versions, commit, date."""

from __future__ import annotations

import datetime
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hybrid_fast", "torch", "transformers", "sentence-transformers", "numpy")


def versions(*more: str) -> dict[str, str]:
    """Return the versions of what is compared, and of more packages, as far as installed."""
    found = {}
    for package in (*PACKAGES, *more):
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def commit() -> str:
    """Return the commit of the checkout; empty without git."""
    with suppress(OSError):
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return ""


def today() -> str:
    """Return the date in UTC, as 2026-11-29."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def describe() -> list[str]:
    """Return the lines above the table of a run."""
    # The GPU check asks for commit and versions before our extension is built.
    from hybrid_fast.cpu import processor

    cpu = processor()
    sets = ", ".join(cpu["instruction_sets"]) or "instruction sets unknown"
    packages = ", ".join(f"{package} {number}" for package, number in versions().items())
    return [
        f"{cpu['name']} ({cpu['vendor']}, family {cpu['family']}, model {cpu['model']}; {sets})",
        f"{cpu['cores']} cores, {torch.get_num_threads()} threads; {packages}",
        f"commit {commit()[:10] or 'unknown'}, {today()}",
    ]
