"""What a benchmark says about the processor it ran on."""

from __future__ import annotations

import machine
import pytest

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu avx2 avx512f avx512_bf16

processor\t: 1
model name\t: another
"""


def test_kind_of_a_processor(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(EPYC)
    found = machine.processor(file)
    assert (found["name"], found["family"], found["model"]) == ("AMD EPYC", "26", "2")
    assert found["instruction_sets"] == ["avx2", "avx512f", "avx512_bf16"]


def test_without_cpuinfo_it_is_unknown(tmp_path):
    assert machine.processor(tmp_path / "missing")["name"] == "unknown processor"


@pytest.mark.parametrize(
    ("sets", "emulates"),
    [(["avx2"], True), (["avx2", "avx512_bf16"], False), (["amx_bf16"], False)],
)
def test_whether_bfloat16_is_emulated(monkeypatch, sets, emulates):
    monkeypatch.setattr(machine, "processor", lambda: {"instruction_sets": sets})
    assert machine.emulates_bfloat16() == emulates


def test_a_run_says_processor_threads_versions_and_commit():
    first, second, third = machine.describe()
    assert "family" in first
    assert "threads" in second
    assert f"torch {machine.versions()['torch']}" in second
    assert third.startswith("commit ")
