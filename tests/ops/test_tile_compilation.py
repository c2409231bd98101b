"""The Triton kernels of tiles compiled for GPUs that are not here: they fit and spill nothing.

They use tensor cores, and start loads of the next step before the product of this.
"""

from __future__ import annotations

import os
import re

import pytest

pytest.importorskip("triton", reason="triton is not installed: nothing to compile with")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1 replaces the compiler", allow_module_level=True)

from compiled_kernels import (
    NO_MASK,
    NVIDIA,
    ONE_DIRECTION,
    PLAIN,
    SYMMETRIC,
    TARGETS,
    check_amd,
    check_ampere,
    check_nvidia,
    compile_kernel,
)

from hybrid_fast.ops.backends import tile_kernels, triton_tiles

# Kernel, dtype of embeddings and W, whether sizes are even, what is not passed. Even: 16 divides N,
# and the last step in D is whole.
TILE_CASES = {
    "positives": ("positive_scores", "bf16", True, NO_MASK),
    "positives, every mask, odd sizes": ("positive_scores", "fp16", False, {}),
    "sums": ("tile_sums", "bf16", True, PLAIN),
    "sums, odd sizes": ("tile_sums", "fp16", False, PLAIN),
    "sums, symmetric": ("tile_sums", "bf16", True, NO_MASK),
    "sums, every mask": ("tile_sums", "bf16", True, ONE_DIRECTION),
    "sums, every mask, symmetric, odd sizes": ("tile_sums", "bf16", False, SYMMETRIC),
    "weights": ("weights", "bf16", True, PLAIN),
    "weights with loss scale": ("weights", "fp16", True, NO_MASK | ONE_DIRECTION),
    "weights, symmetric, odd sizes": ("weights", "bf16", False, NO_MASK | {"loss_scale": None}),
    "weights with loss scale, symmetric": ("weights", "fp16", True, NO_MASK),
    "weights, every mask": ("weights", "bf16", True, ONE_DIRECTION | {"loss_scale": None}),
    "weights, every mask, symmetric": ("weights", "bf16", True, SYMMETRIC | {"loss_scale": None}),
    "weights with loss scale, every mask, symmetric, odd sizes": (
        "weights",
        "fp16",
        False,
        SYMMETRIC,
    ),
}
# With the flag of one pass programs loop over tiles.
NO_SCALE = {"loss_scale": None}
FLAGGED = {
    "sums, flag": ("tile_sums", "bf16", True, PLAIN),
    "sums, symmetric, odd sizes, flag": ("tile_sums", "bf16", False, NO_MASK),
    "sums, every mask, symmetric, odd sizes, flag": ("tile_sums", "bf16", False, SYMMETRIC),
    "weights, flag": ("weights", "bf16", True, PLAIN),
    "weights, symmetric, odd sizes, flag": ("weights", "bf16", False, NO_MASK | NO_SCALE),
    "weights, every mask, symmetric, flag": ("weights", "bf16", True, SYMMETRIC | NO_SCALE),
    "weights, every mask, symmetric, odd sizes, flag": (
        "weights",
        "bf16",
        False,
        SYMMETRIC | NO_SCALE,
    ),
}
TILE_CASES |= FLAGGED
# Of each, both a simpler and a harder case of the same kernel and tile is compiled: CI adds them.
IN_BETWEEN = {
    "sums, odd sizes",
    "sums, every mask",
    "weights with loss scale",
    "weights with loss scale, symmetric",
    "weights, every mask",
    "weights, every mask, symmetric",
    "sums, flag",
    "sums, symmetric, odd sizes, flag",
    "weights, flag",
    "weights, every mask, symmetric, flag",
}
assert TILE_CASES.keys() >= IN_BETWEEN
tile_cases = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in IN_BETWEEN)) for n in TILE_CASES],
)


def compile_tile_case(name, architecture, sizes=None):
    which, dtype, even, absent = TILE_CASES[name]
    flagged = name in FLAGGED
    tile = triton_tiles.tile_of(
        architecture, masked=not absent.keys() >= NO_MASK.keys(), flagged=flagged
    )
    arguments = tile.arguments()
    options = {key: arguments.pop(key) for key in ("num_warps", "num_stages")}
    constants = absent | arguments | {"EVEN_D": even, "NUM_PARTS": tile.parts, "GROUP": 8}
    constants |= {} if flagged else {"flag": None}
    function = getattr(tile_kernels, f"{which}_kernel")
    target, constants = TARGETS[architecture][0], constants | (sizes or {})
    odd = ("R",) if even else ("R", "N", "mask_stride_r", "row_sums", "column_sums")
    return compile_kernel(function, target, "fp32", dtype, constants, options, odd)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


@tile_cases
def test_tiles_on_sm_80(name, tmp_path):
    check_ampere(compile_tile_case(name, "sm_80"), "sm_80", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TILE_CASES if name not in IN_BETWEEN])
def test_tiles_on_ada(name, tmp_path):
    """It has the instructions of Ampere and less shared memory."""
    check_ampere(compile_tile_case(name, "sm_89"), "sm_89", tmp_path)


@tile_cases
def test_tiles_on_sm_90(name, tmp_path):
    compiled = compile_tile_case(name, "sm_90")
    instructions = check_nvidia(compiled, "sm_90", tmp_path)
    assert "wgmma.mma_async" in compiled.asm["ptx"]
    assert re.search(r"HGMMA\.64x(128|256)x16\.F32", instructions)
    assert re.search(r"LDGSTS\.E\.\S*128", instructions)


@tile_cases
def test_tiles_on_gfx942(name):
    # Of odd sizes each entry has a mask of its own, in scalar registers, and a loop over tiles
    # takes some; what does not fit there goes to vector registers, not to memory.
    scalars_too = TILE_CASES[name][2] and name not in FLAGGED
    text = check_amd(compile_tile_case(name, "gfx942"), scalars_too=scalars_too)
    assert re.search(r"v_mfma_f32_\d+x\d+x\d+_b?f16", text)
    assert "global_load_dwordx4" in text or "buffer_load_dwordx4" in text


@pytest.mark.parametrize("absent", [{"flag": None}, {}], ids=["", "flag"])
@pytest.mark.parametrize("architecture", TARGETS)
def test_merge(architecture, absent, tmp_path):
    function = tile_kernels.merge_sums_kernel
    target, constants = TARGETS[architecture][0], triton_tiles.MERGE_BLOCKS | absent
    compiled = compile_kernel(function, target, "fp32", "fp32", constants, {})
    if architecture in NVIDIA:
        assert "LDG.E.128" in check_nvidia(compiled, architecture, tmp_path)
    else:
        check_amd(compiled)


@pytest.mark.parametrize(
    "name",
    [
        "positives", "sums, symmetric", "weights, every mask, symmetric",
        "sums, symmetric, odd sizes, flag", "weights, every mask, symmetric, odd sizes, flag",
    ],
)  # fmt: skip
def test_sizes_of_one(name, tmp_path):
    """Triton makes constants of them, which the interpreter does not."""
    compiled = compile_tile_case(name, "sm_90", {"R": 1, "N": 1})
    check_nvidia(compiled, "sm_90", tmp_path)


def test_merge_of_one_tile_and_one_row(tmp_path):
    function, target = tile_kernels.merge_sums_kernel, TARGETS["sm_90"][0]
    constants = triton_tiles.MERGE_BLOCKS | {"T": 1, "M": 1}
    check_nvidia(compile_kernel(function, target, "fp32", "fp32", constants, {}), "sm_90", tmp_path)
