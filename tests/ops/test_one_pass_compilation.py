"""The Triton kernels of the one-pass loss compiled for GPUs that are not here: nothing spills.

The tiles use tensor cores; on Hopper they are loaded and stored by the unit for whole blocks (TMA),
elsewhere loads of the next step start before the product of this.
"""

from __future__ import annotations

import os
import re

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: nothing to compile with")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1 replaces the compiler", allow_module_level=True)

from compiled_kernels import (
    NO_MASK,
    NVIDIA,
    SYMMETRIC,
    TARGETS,
    check_amd,
    check_ampere,
    check_nvidia,
    compile_kernel,
)

from hybrid_fast.ops.backends import one_pass_kernels, one_pass_tiles
from hybrid_fast.ops.backends.triton_mask import KernelMask
from hybrid_fast.ops.negative_mask import NegativeMask

OPTIONAL = {
    "exponentials", "row_sums", "row_dots", "column_sums", "row_factors", "column_factors",
    "origins", "flag",
}  # fmt: skip
LOSSES = {"row_sums"}
GRADIENT = LOSSES | {"exponentials"}
COLUMNS = LOSSES | {"column_sums"}
FACTORS = {"exponentials", "row_factors", "column_factors", "flag"}
DOTS = {"row_dots", "origins"}
IDS = dict.fromkeys(set(KernelMask._fields) - {"query_groups", "passage_groups"})
EVERY = {}
# What is passed of `OPTIONAL`, what is not passed of the mask, and whether sizes are even: 16
# divides N, and the last step in D is whole.
CASES = {
    "losses": (LOSSES, NO_MASK, True),
    "losses, every mask, odd sizes": (LOSSES, EVERY, False),
    "gradient": (GRADIENT, NO_MASK, True),
    "gradient, odd sizes": (GRADIENT, NO_MASK, False),
    "gradient, groups, odd sizes": (GRADIENT, IDS, False),
    "gradient, every mask": (GRADIENT, EVERY, True),
    "dots": (GRADIENT | DOTS, NO_MASK, True),
    "dots, groups, odd sizes": (GRADIENT | DOTS, IDS, False),
    "dots, every mask, odd sizes": (GRADIENT | DOTS, EVERY, False),
    "columns": (COLUMNS, NO_MASK, True),
    "columns, every mask, odd sizes": (COLUMNS, SYMMETRIC, False),
    "columns and gradient": (COLUMNS | GRADIENT, NO_MASK, True),
    "columns and gradient, groups, odd sizes": (COLUMNS | GRADIENT, IDS, False),
    "columns and gradient, every mask, odd sizes": (COLUMNS | GRADIENT, SYMMETRIC, False),
    "factors": (FACTORS, NO_MASK, True),
    "factors, every mask, odd sizes": (FACTORS, SYMMETRIC, False),
    "factors and dots": (FACTORS | DOTS, NO_MASK, True),
    "factors and dots, groups, odd sizes": (FACTORS | DOTS, IDS, False),
    "factors and dots, every mask, odd sizes": (FACTORS | DOTS, SYMMETRIC, False),
}
# The hardest of each tile, and the simplest; CI adds the others.
HARDEST = {
    "losses",
    "factors and dots, groups, odd sizes",
    "factors and dots, every mask, odd sizes",
}
cases = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in HARDEST)) for n in CASES],
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


def mask_without(absent):
    """Return a mask of the fields that a kernel is passed: tiles depend on which these are."""
    parts = set(KernelMask._fields) - absent.keys()
    tensors = parts - {"mask_stride_r", "mask_stride_n", "limits"}
    return NegativeMask(
        margin=0.0 if "limits" in parts else None,
        **{name: torch.zeros(1, dtype=torch.int64) for name in tensors},
    )


def compile_tiles(name, architecture, sizes=None):
    given, absent, even = CASES[name]
    needs_dots = "row_dots" in given
    tile = one_pass_tiles.tile_of(architecture, mask_without(absent), needs_dots=needs_dots)
    descriptors = one_pass_tiles.has_descriptors(architecture)
    arguments = tile.arguments()
    options = {key: arguments.pop(key) for key in ("num_warps", "num_stages")}
    constants = dict.fromkeys(OPTIONAL - given) | absent | arguments | (sizes or {})
    constants |= {"EVEN_D": even, "NUM_PARTS": tile.parts, "GROUP": 8, "DESCRIPTORS": descriptors}
    constants["FLATTEN"] = descriptors and tile.columns == one_pass_tiles._WIDE
    types = {}
    if descriptors:
        blocks = {
            "queries": (tile.rows, tile.depth),
            "passages": (tile.columns, tile.depth),
            "exponentials": (tile.rows, tile.columns // tile.parts),
        }
        types = {key: f"tensordesc<bf16[{r}, {c}]>" for key, (r, c) in blocks.items()}
    if "exponentials" not in given:
        constants["stride_e"] = None
    odd = ("R",) if even else ("R", "N", "mask_stride_r", "row_sums", "column_sums", "stride_e")
    function, target = one_pass_kernels.exp_tiles_kernel, TARGETS[architecture][0]
    return compile_kernel(function, target, "fp32", "bf16", constants, options, odd, types)


def check_pointers(name, architecture, folder):
    check_ampere(compile_tiles(name, architecture), architecture, folder)


@cases
def test_tiles_by_pointers(name, tmp_path):
    check_pointers(name, "sm_80", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(HARDEST))
def test_tiles_on_ada(name, tmp_path):
    """It has the instructions of Ampere and less shared memory."""
    check_pointers(name, "sm_89", tmp_path)


@cases
def test_tiles_by_descriptors(name, tmp_path):
    compiled = compile_tiles(name, "sm_90")
    instructions = check_nvidia(compiled, "sm_90", tmp_path)
    assert "wgmma.mma_async" in compiled.asm["ptx"]
    assert re.search(r"HGMMA\.64x(128|256)x16\.F32", instructions)
    assert "UTMALDG" in instructions
    assert ("UTMASTG" in instructions) == ("exponentials" in CASES[name][0])


@cases
def test_tiles_on_gfx942(name):
    # Masks of lanes that do not fit in scalar registers go to vector registers, not to memory.
    text = check_amd(compile_tiles(name, "gfx942"), scalars_too=False)
    assert re.search(r"v_mfma_f32_\d+x\d+x\d+_b?f16", text)


@pytest.mark.parametrize("name", ["losses", "factors and dots, every mask, odd sizes"])
@pytest.mark.parametrize("architecture", ["sm_90", pytest.param("sm_80", marks=pytest.mark.slow)])
def test_sizes_of_one(architecture, name, tmp_path):
    """Triton makes constants of them, which the interpreter does not."""
    check_nvidia(compile_tiles(name, architecture, {"R": 1, "N": 1}), architecture, tmp_path)


ROW = {"BLOCK_D": 1024}
OTHERS = {  # and the dtypes that are not those of `TYPES`
    "references": ("references_kernel", ROW, {}),
    "finish": ("finish_rows_kernel", one_pass_tiles._SUM_BLOCKS, {}),
    "finish without dots": (
        "finish_rows_kernel",
        one_pass_tiles._SUM_BLOCKS | {"row_dots": None, "dots": None},
        {},
    ),
    "weigh": ("weigh_kernel", one_pass_tiles._WEIGH_BLOCKS, {}),
    "query gradient": ("query_gradient_kernel", ROW, {"gradient": "*fp32"}),
    "query gradient without factors": (
        "query_gradient_kernel",
        ROW | {"factors": None},
        {"gradient": "*fp32"},
    ),
    "scaled queries": ("scaled_queries_kernel", ROW, {}),
    "rows of columns": ("rows_of_columns_kernel", {"BLOCK": 1024}, {}),
    "add positives": ("add_positives_kernel", ROW | {"BLOCK_R": 1024}, {}),
    "rescale": ("rescale_kernel", {"BLOCK": 8192}, {}),
    "rescale more than 2^31": ("rescale_kernel", {"BLOCK": 8192}, {"SIZE": "i64"}),
}


@pytest.mark.parametrize("architecture", TARGETS)
@pytest.mark.parametrize("name", OTHERS)
def test_what_is_beside_the_tiles(name, architecture, tmp_path):
    kernel, constants, types = OTHERS[name]
    function, target = getattr(one_pass_kernels, kernel), TARGETS[architecture][0]
    constants = constants | NO_MASK if "negative_mask" in function.arg_names else constants
    compiled = compile_kernel(function, target, "fp32", "bf16", constants, {}, types=types)
    if architecture in NVIDIA:
        check_nvidia(compiled, architecture, tmp_path)
    else:
        check_amd(compiled)
