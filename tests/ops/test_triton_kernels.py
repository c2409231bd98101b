"""Runs triton_*_cases.py in Triton's interpreter: which one it is, is settled at import."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from hybrid_fast.ops.negative_mask import MaskingRule, NegativeMask
from hybrid_fast.ops.problem import Problem

pytest.importorskip("triton", reason="triton is not installed: its kernels cannot be tried")

from hybrid_fast.ops.backends import gpu, gpu_products, triton_rows, triton_tiles, triton_two_pass

# Of like length, for a process each; and what some of them leave to CI.
CASES = {
    "rows and tiles": ("not slow", ["arithmetic", "row", "tile"]),
    "rules and random": ("not slow", ["rule", "random"]),
    "accuracy": ("not slow", ["accuracy"]),
    "slow": ("slow", ["rule", "random"]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (CASES[n][0] == "slow")) for n in CASES]
)
def test_cases_in_the_interpreter(name):
    chosen, files = CASES[name]
    paths = [str(Path(__file__).with_name(f"triton_{file}_cases.py")) for file in files]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", chosen]
    done = subprocess.run(
        [*command, *paths],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def test_chunks_fill_the_processors_within_the_scratch_memory():
    def rows(num_columns, dim, max_bytes):
        return gpu_products.rows_of_chunk(num_columns, dim, 6, 132, max_bytes)

    assert rows(65536, 768, 6 * 65536 * 6000) == 5632  # 44 * 3 tiles on 132 processors
    assert rows(65536, 1024, 6 * 65536 * 6000) == 4224  # 33 * 4
    assert rows(65536, 768, 2**31) == 5376  # too little memory for that: whole tiles
    assert rows(2**24, 768, 2**31) == 128


@pytest.mark.parametrize("embeddings", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_scores_stay_on_the_chip_if_half_precision_needs_them_twice(embeddings):
    def kernels(one_pass):
        vectors = torch.zeros(5, 3, dtype=embeddings)
        problem = Problem(
            queries=vectors, passages=vectors, temperature=1.0, positives=torch.arange(5)
        )
        return gpu.make_kernels(problem, one_pass)

    twice = (
        triton_two_pass.TwoPassKernels if embeddings == torch.bfloat16 else triton_rows.RowKernels
    )
    assert type(kernels(one_pass=True)) is triton_rows.RowKernels
    assert type(kernels(one_pass=False)) is twice


@dataclass(frozen=True, kw_only=True)
class Nothing(MaskingRule):
    """Excludes nothing."""

    def excluded(self, positives):
        return torch.zeros(len(positives), 2**15, dtype=torch.bool)


@pytest.mark.parametrize("one_pass", [False, True], ids=["tiles", "rows"])
def test_masks_that_rules_make_count_as_scratch_memory(one_pass):
    vectors = torch.zeros(2**15, 1, dtype=torch.bfloat16)
    bytes_of_a_pair = 6 if one_pass else 2.25

    def rows(rules):
        problem = Problem(
            queries=vectors,
            passages=vectors,
            temperature=torch.tensor(1.0),
            positives=torch.arange(2**15),
            negative_mask=NegativeMask(rules=rules),
            max_scratch_bytes=int(2**15 * 1280 * (bytes_of_a_pair + 1)),
        )
        return gpu.make_kernels(problem, one_pass).rows_per_chunk()

    assert rows((Nothing(),)) == 1280
    assert rows(()) == int(1280 * (bytes_of_a_pair + 1) / bytes_of_a_pair) // 128 * 128


def test_wide_tiles_where_registers_are_left():
    def columns(architecture, masked):
        return triton_tiles.tile_of(architecture, masked=masked).columns

    assert columns("sm_90", False) == 256
    assert columns("sm_90", True) == columns("sm_80", False) == columns("sm_120", False) == 128
    assert columns("gfx942", False) == 128
    assert columns("gfx942", True) == 64
