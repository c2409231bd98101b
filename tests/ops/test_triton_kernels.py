"""Runs triton_kernel_cases.py in Triton's interpreter: which one it is, is settled at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid_fast.ops import gpu_products

pytest.importorskip("triton", reason="triton is not installed: its kernels cannot be tried")


def test_cases_in_the_interpreter():
    cases = Path(__file__).with_name("triton_kernel_cases.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(cases)],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_chunks_fill_the_processors_within_the_scratch_memory():
    def rows(num_columns, dim, max_bytes):
        return gpu_products.rows_of_chunk(num_columns, dim, 6, 132, max_bytes)

    assert rows(65536, 768, 6 * 65536 * 6000) == 5632  # 44 * 3 tiles on 132 processors
    assert rows(65536, 1024, 6 * 65536 * 6000) == 4224  # 33 * 4
    assert rows(65536, 768, 2**31) == 5376  # too little memory for that: whole tiles
    assert rows(2**24, 768, 2**31) == 128
