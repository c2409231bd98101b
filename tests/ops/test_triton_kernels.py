"""Runs triton_*_cases.py in Triton's interpreter: which one it is, is settled at import."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

from hybrid_fast.ops.negative_mask import MaskingRule, NegativeMask
from hybrid_fast.ops.problem import Problem

pytest.importorskip("triton", reason="triton is not installed: its kernels cannot be tried")

from hybrid_fast.ops.backends import (
    gpu,
    gpu_products,
    one_pass_tiles,
    triton_one_pass,
    triton_rows,
    triton_tiles,
    triton_two_pass,
)

# Of like length, for a process each; and what some of them leave to CI.
CASES = {
    "rows and tiles": ("not slow", ["arithmetic", "row", "tile"]),
    "rules and random": ("not slow", ["rule", "random"]),
    "one pass": ("not slow", ["one_pass"]),
    "edges of one pass": ("not slow", ["one_pass_edge"]),
    "accuracy": ("not slow", ["accuracy"]),
    "slow": ("slow", ["rule", "random", "one_pass", "one_pass_edge"]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "slow")) for n in CASES]
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_rows", [4096, 4097])
@pytest.mark.parametrize("precision", [None, "bf16"])
def test_one_pass_is_for_many_scores_of_bfloat16(num_rows, dtype, precision):
    vectors = torch.zeros(num_rows, 1, dtype=dtype)
    problem = Problem(
        queries=vectors,
        passages=vectors,
        temperature=torch.tensor(1.0),
        positives=torch.arange(num_rows),
        precision=precision,
    )
    in_one_pass = num_rows > 4096 and (precision or dtype) in ("bf16", torch.bfloat16)
    kernels = gpu.make_one_pass_kernels(problem, True)
    assert (type(kernels) is triton_one_pass.OnePassKernels) == in_one_pass
    assert in_one_pass or type(kernels) is type(gpu.make_kernels(problem, True))


@pytest.mark.parametrize(
    ("num_rows", "dim", "max_scratch_bytes", "dtype", "rows"),
    [
        (65536, 768, None, torch.bfloat16, 11776),  # what 2 GiB hold after 192 MiB of gradients
        (65536, 768, None, torch.float32, 13056),  # which are returned as they are
        (2**18, 768, None, torch.bfloat16, 2048),
        (2**20, 768, None, torch.bfloat16, 2048),  # whatever they take
        (65536, 768, 2**30, torch.bfloat16, 6528),
        (2**20, 768, 1, torch.bfloat16, 128),
    ],
)
def test_chunks_of_one_pass(num_rows, dim, max_scratch_bytes, dtype, rows):
    vectors = torch.zeros(1, dtype=dtype).expand(num_rows, dim)
    problem = Problem(
        queries=vectors,
        passages=vectors,
        temperature=torch.tensor(1.0),
        positives=torch.arange(num_rows),
        precision="bf16",
        max_scratch_bytes=max_scratch_bytes,
    )
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert gpu.make_one_pass_kernels(problem, True).rows_per_chunk() == rows


def test_tiles_of_exponentials_are_wide_where_registers_are_left():
    def tile(architecture, *, needs_dots=False, **parts):
        mask = NegativeMask(**parts)
        return one_pass_tiles.tile_of(architecture, mask, needs_dots=needs_dots)

    ids, flags = torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool)
    of_ids = {"query_groups": ids, "passage_groups": ids, "passage_ids": ids}
    assert tile("sm_90").columns == tile("sm_90", **of_ids).columns == 256
    assert tile("sm_90", **of_ids) == tile("sm_90", needs_dots=True)
    assert tile("sm_90", **of_ids).parts > tile("sm_90").parts
    for other in ({"margin": 0.1}, {"in_batch": flags}, {"rules": (Nothing(),)}):
        assert tile("sm_90", **of_ids, **other).columns == 128
    assert tile("sm_80").columns == tile("sm_120").columns == tile("gfx942").columns == 128
    assert tile("gfx942", **of_ids).columns == 64
    assert [one_pass_tiles.has_descriptors(a) for a in ("sm_90", "sm_80", "gfx942")] == [1, 0, 0]


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
    def columns(architecture, masked, *, flagged=False):
        return triton_tiles.tile_of(architecture, masked=masked, flagged=flagged).columns

    assert columns("sm_90", False) == 256
    assert columns("sm_90", True) == columns("sm_80", False) == columns("sm_120", False) == 128
    assert columns("gfx942", False) == 128
    assert columns("gfx942", True) == columns("gfx942", False, flagged=True) == 64
