"""The Triton kernels of the one-pass loss compiled for GPUs that are not here: nothing spills.

The tiles use tensor cores; on Hopper they are loaded and stored by the unit for whole blocks (TMA),
elsewhere loads of the next step start before the product of this.
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
    SYMMETRIC,
    TARGETS,
    check_amd,
    check_nvidia,
    compile_kernel,
)

from hybrid_fast.ops.backends import one_pass_kernels, triton_one_pass

NOTHING = dict.fromkeys(
    (
        "exponentials", "row_sums", "row_dots", "column_sums", "row_factors", "column_factors",
        "origins", "flag",
    )
)  # fmt: skip
ONE_DIRECTION_DOTS = {"row_dots", "origins"}
FACTORS = {"exponentials", "row_factors", "column_factors", "origins", "flag"}


def without(given, masks):
    return {name: None for name in NOTHING if name not in given} | masks


EVERY_MASK = {}
# What is passed of `NOTHING` and of the mask, whether sizes are even: 16 divides N, and the last
# step in D is whole. In the order of what they ask of registers.
CASES = {
    "losses": (without({"row_sums"}, NO_MASK), True),
    "losses, every mask, odd sizes": (without({"row_sums"}, EVERY_MASK), False),
    "gradient": (without({"exponentials", "row_sums"}, NO_MASK), True),
    "gradient, odd sizes": (without({"exponentials", "row_sums"}, NO_MASK), False),
    "gradient, every mask": (without({"exponentials", "row_sums"}, EVERY_MASK), True),
    "dots": (without({"exponentials", "row_sums"} | ONE_DIRECTION_DOTS, NO_MASK), True),
    "dots, every mask, odd sizes": (
        without({"exponentials", "row_sums"} | ONE_DIRECTION_DOTS, EVERY_MASK),
        False,
    ),
    "columns": (without({"exponentials", "row_sums", "column_sums"}, NO_MASK), True),
    "columns, every mask, odd sizes": (
        without({"exponentials", "row_sums", "column_sums"}, SYMMETRIC),
        False,
    ),
    "columns alone": (without({"row_sums", "column_sums"}, NO_MASK), True),
    "columns alone, every mask, odd sizes": (
        without({"row_sums", "column_sums"}, SYMMETRIC),
        False,
    ),
    "factors": (without(FACTORS, NO_MASK), True),
    "factors, every mask, odd sizes": (without(FACTORS, SYMMETRIC), False),
    "factors and dots": (without(FACTORS | {"row_dots"}, NO_MASK), True),
    "factors and dots, every mask, odd sizes": (
        without(FACTORS | {"row_dots"}, SYMMETRIC),
        False,
    ),
}


def compile_tiles(name, architecture, sizes=None):
    absent, even = CASES[name]
    masked = not absent.keys() >= NO_MASK.keys()
    tile = triton_one_pass.tile_of(architecture, masked=masked)
    descriptors = triton_one_pass.has_descriptors(architecture)
    arguments = tile.arguments()
    options = {key: arguments.pop(key) for key in ("num_warps", "num_stages")}
    constants = absent | arguments | (sizes or {})
    constants |= {"EVEN_D": even, "NUM_PARTS": tile.parts, "GROUP": 8, "DESCRIPTORS": descriptors}
    types = {}
    if descriptors:
        blocks = {
            "queries": (tile.rows, tile.depth),
            "passages": (tile.columns, tile.depth),
            "exponentials": (tile.rows, tile.columns // tile.parts),
        }
        types = {key: f"tensordesc<bf16[{r}, {c}]>" for key, (r, c) in blocks.items()}
    if absent.get("exponentials", 0) is None:
        constants["stride_e"] = None
    odd = ("R",) if even else ("R", "N", "mask_stride_r", "row_sums", "column_sums", "stride_e")
    function, target = one_pass_kernels.exp_tiles_kernel, TARGETS[architecture][0]
    return compile_kernel(function, target, "fp32", "bf16", constants, options, odd, types)
