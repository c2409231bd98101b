"""The Triton kernels of rows compiled for GPUs that are not here, and how often they are compiled.

They fit, spill nothing, and load vectors.
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
    NVIDIA,
    ONE_DIRECTION,
    PLAIN,
    SYMMETRIC,
    TARGETS,
    TYPES,
    check_amd,
    check_nvidia,
    compile_kernel,
)
from triton.compiler import make_backend
from triton.runtime.jit import compute_cache_key, create_function_from_signature

from hybrid_fast.ops.backends import row_kernels, triton_rows
from hybrid_fast.ops.backends.triton_mask import KernelMask, kernel_mask
from hybrid_fast.ops.negative_mask import NegativeMask

# Kernel, dtype of scores, of the gradient, what is not passed.
CASES = {
    "losses": ("rows", "fp32", "fp32", PLAIN | {"gradient": None}),
    "gradient": ("rows", "fp32", "bf16", PLAIN),
    "gradient in place": ("rows", "fp32", "fp32", PLAIN),
    "gradient, every mask": ("rows", "fp32", "fp16", ONE_DIRECTION),
    "gradient, every mask, symmetric": ("rows", "fp32", "fp16", SYMMETRIC),
    "gradient in float64, every mask": ("rows", "fp64", "fp64", ONE_DIRECTION),
    "gradient in float64, every mask, symmetric": ("rows", "fp64", "fp64", SYMMETRIC),
    "column sums": ("columns", "fp32", "fp32", PLAIN),
    "column sums, every mask": ("columns", "fp32", "fp32", SYMMETRIC),
    "column sums in float64, every mask": ("columns", "fp64", "fp64", SYMMETRIC),
}


def compile_case(name, target):
    """Compile as for a number of passages that 16 divides."""
    which, scores, gradient, absent = CASES[name]
    size = 8 if scores == "fp64" else 4
    if which == "rows":
        function = row_kernels.contrast_rows_kernel
        block, num_warps = triton_rows.row_block(2**20, size)
        blocks = {"BLOCK_N": block}
    else:
        function = row_kernels.add_column_sums_kernel
        num_warps = triton_rows.COLUMN_WARPS
        blocks = {
            "BLOCK_R": triton_rows._COLUMN_BLOCK_BYTES // size,
            "BLOCK_N": triton_rows._COLUMN_BLOCK,
        }
    return compile_kernel(
        function, target, scores, gradient, absent | blocks, {"num_warps": num_warps}
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("architecture", NVIDIA)
def test_nvidia(name, architecture, tmp_path):
    compiled = compile_case(name, TARGETS[architecture][0])
    assert "LDG.E.128" in check_nvidia(compiled, architecture, tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_amd(name):
    text = check_amd(compile_case(name, TARGETS["gfx942"][0]))
    # A lane of 64 has one float64 of a row: 8 bytes are then all there is to load at once.
    widest = "[24]" if CASES[name][1] == "fp64" else "4"
    assert re.search(f"global_load_dwordx{widest}", text)


@pytest.mark.parametrize("architecture", TARGETS)
@pytest.mark.parametrize("scores", ["fp32", "fp64"])
def test_terms_of_columns(architecture, scores, tmp_path):
    function, target = row_kernels.column_terms_kernel, TARGETS[architecture][0]
    compiled = compile_kernel(function, target, scores, scores, triton_rows.TERM_BLOCKS, {})
    if architecture == "gfx942":
        # In float64 some masks of lanes move from scalar to vector registers, none to memory.
        check_amd(compiled, scalars_too=scores == "fp32")
    else:
        check_nvidia(compiled, architecture, tmp_path)


def launched(rows, **parts):
    """Return the types of a mask by field as a launch sees them, and under which key it is kept."""
    kernel, backend = row_kernels.contrast_rows_kernel, make_backend(TARGETS["sm_90"][0])
    bind = create_function_from_signature(kernel.signature, kernel.params, backend)
    others = dict.fromkeys(set(kernel.arg_names) - {"negative_mask"})
    mask = kernel_mask(NegativeMask(**parts), None)
    _, seen, options = bind(**others | {"negative_mask": mask, "R": rows, "BLOCK_N": 128})
    types = seen[kernel.arg_names.index("negative_mask")][0]
    key = compute_cache_key({}, seen, options)
    return dict(zip(KernelMask._fields, types, strict=True)), key


def parts_of_a_mask(rows):
    return {
        "passage_groups": torch.arange(64),
        "query_groups": torch.arange(rows),
        "mask": torch.ones(rows, 64, dtype=torch.bool),
        "in_batch": torch.ones(rows, dtype=torch.bool),
        "owners": torch.arange(64),
    }


@pytest.mark.parametrize("part", parts_of_a_mask(3))
def test_a_launch_makes_constants_of_parts_that_were_not_asked_for(part):
    types, _ = launched(3, **{part: parts_of_a_mask(3)[part]})
    given = {part, "mask_stride_r"} if part == "mask" else {part}
    assert {name for name, kind in types.items() if kind != "constexpr"} == given
    assert types[part] == TYPES[part]


def test_a_kernel_is_compiled_once_for_each_kind_of_mask():
    everything, key = launched(13, **parts_of_a_mask(13))
    assert launched(13, **parts_of_a_mask(13)) == (everything, key)
    assert launched(21, **parts_of_a_mask(21)) == (everything, key)
    assert launched(13)[1] == launched(21)[1]
    keys = {launched(13, **{part: value})[1] for part, value in parts_of_a_mask(13).items()}
    assert len(keys | {key, launched(13)[1]}) == 7
