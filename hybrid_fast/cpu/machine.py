"""What the processor is."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

# As Linux names those by which kernels are chosen, ours and those of libraries; x86, then Arm.
INSTRUCTION_SETS = (
    *("avx2", "avx_ne_convert", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "bf16"),
)


def _num_cores() -> int:
    """Return on how many cores this process may run, or where none tells, how many there are."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return name, vendor, family, model and instruction sets of the first processor, and cores.

    Args:
        cpuinfo: Linux's description; where it is missing only the architecture is known.
    """
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "name": fields.get("model name", platform.machine()),
        "vendor": fields.get("vendor_id", "unknown vendor"),
        "family": fields.get("cpu family", "?"),
        "model": fields.get("model", "?"),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "cores": _num_cores(),
    }
