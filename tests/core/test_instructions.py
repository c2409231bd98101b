"""HYBRID_FAST_CPU names the instructions of the kernels, or is refused."""

from pathlib import Path

import pytest
from core_programs import run_program

from hybrid_fast import _core

CPU_INFO = Path("/proc/cpuinfo")
CHOSEN = "from hybrid_fast import _core\nprint(_core.contrast_instructions())"
# What losses say of the variable, twice; values of float64 have kernels for any processor.
LOSSES = """
import torch
from hybrid_fast.ops import info_nce
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float32):
    queries = torch.eye(3, dtype=dtype)
    try:
        info_nce(queries, queries)
        print("done")
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("name", ["portable", "PORTABLE", "Portable"])
def test_a_name_in_any_case(name):
    assert run_program(CHOSEN, HYBRID_FAST_CPU=name) == "portable"


def test_tiles_can_be_turned_off():
    if _core.contrast_instructions() == "amx":
        assert run_program(CHOSEN, HYBRID_FAST_CPU="avx512") == "avx512"
        return
    refused = "HYBRID_FAST_CPU is 'amx', which this process cannot use; it can use "
    assert run_program(LOSSES, HYBRID_FAST_CPU="amx").splitlines()[0].startswith(refused)


def test_an_empty_name_is_none():
    assert run_program(CHOSEN, HYBRID_FAST_CPU="") == run_program(CHOSEN)


def test_a_wrong_name_is_refused_at_every_call():
    names = "'amx', 'avx512', 'avx2', 'portable'"
    message = f"HYBRID_FAST_CPU is 'axv2'; it must be one of {names}; did"
    lines = run_program(LOSSES, HYBRID_FAST_CPU="axv2").splitlines()
    assert lines == [f"{message} you mean 'avx2'?"] * 4


def test_it_was_chosen_among_those_of_the_processor():
    assert _core.contrast_instructions() in ("amx", "avx512", "avx2", "portable")


@pytest.mark.skipif(not CPU_INFO.is_file(), reason="needs a list of the processor's instructions")
def test_whether_there_are_tiles_is_what_the_system_says():
    words = CPU_INFO.read_text(encoding="utf-8").split()
    assert _core.has_amx() == ("amx_tile" in words)
