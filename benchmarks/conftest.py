"""What the JSON of a benchmark run keeps: measurements, machine, versions; no machine names."""

from __future__ import annotations

import os
from importlib.metadata import version

PACKAGES = ("hybrid_fast", "torch", "numpy", "sentence-transformers")


def pytest_benchmark_update_machine_info(config, machine_info):
    for name in ("node", "release"):
        machine_info.pop(name, None)
    machine_info["cpu"].pop("flags", None)
    machine_info["cores"] = os.cpu_count()
    machine_info["versions"] = {package: version(package) for package in PACKAGES}


def pytest_benchmark_update_json(config, benchmarks, output_json):
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)
