"""What a run was measured on and with: processor and its kind, threads, versions, commit, date."""

from __future__ import annotations

import datetime
import os
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hybrid_fast", "torch", "transformers", "sentence-transformers", "numpy")
# As Linux names those by which kernels are chosen.
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def versions() -> dict[str, str]:
    """Return the versions of what is compared, as far as it is installed."""
    found = {}
    for package in PACKAGES:
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


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return name, vendor, family, model and instruction sets of the first processor (Linux)."""
    text = cpuinfo.read_text().partition("\n\n")[0] if cpuinfo.exists() else ""
    fields = dict(map(str.strip, line.split(":", 1)) for line in text.splitlines() if ":" in line)
    flags = fields.get("flags", "").split()
    return {
        "name": fields.get("model name", "unknown processor"),
        "vendor": fields.get("vendor_id", "unknown vendor"),
        "family": fields.get("cpu family", "?"),
        "model": fields.get("model", "?"),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "cores": os.cpu_count(),
    }


def emulates_bfloat16() -> bool:
    """Tell whether products of bfloat16 take many times as long as those of float32 here."""
    return not {"avx512_bf16", "amx_bf16"} & set(processor()["instruction_sets"])


def describe() -> list[str]:
    """Return the lines above the table of a run."""
    cpu = processor()
    sets = ", ".join(cpu["instruction_sets"]) or "none of " + ", ".join(INSTRUCTION_SETS)
    packages = ", ".join(f"{package} {number}" for package, number in versions().items())
    return [
        f"{cpu['name']} ({cpu['vendor']}, family {cpu['family']}, model {cpu['model']}; {sets})",
        f"{cpu['cores']} cores, {torch.get_num_threads()} threads; {packages}",
        f"commit {commit()[:10] or 'unknown'}, {today()}",
    ]
